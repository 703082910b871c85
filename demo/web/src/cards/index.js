// The cards of the page, in order. A new one is a file here and a line below.
import Room from "./Room.jsx";
import Demo from "./Demo.jsx";
import Superheroes from "./Superheroes.jsx";
import Notifications from "./Notifications.jsx";
import Ping from "./Ping.jsx";
import Slow from "./Slow.jsx";
import Dupe from "./Dupe.jsx";
import Push from "./Push.jsx";
import Auth from "./Auth.jsx";
import Wild from "./Wild.jsx";
import Tracked from "./Tracked.jsx";

export const cards = [
  Room,
  Demo,
  Superheroes,
  Notifications,
  Ping,
  Slow,
  Dupe,
  Push,
  Auth,
  Wild,
  Tracked,
];
