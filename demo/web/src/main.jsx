import { createRoot } from "react-dom/client";
import App from "./App.jsx";
import { connect } from "./lib/socket.js";
import { watchAddress } from "./lib/token.js";
import { watchTree } from "./lib/tree.js";
import "./style.css";

watchAddress();
connect();
watchTree();
createRoot(document.getElementById("root")).render(<App />);
