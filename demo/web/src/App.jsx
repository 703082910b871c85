import { cards } from "./cards/index.js";
import FrameLog from "./components/FrameLog.jsx";
import Header from "./components/Header.jsx";
import Kills from "./components/Kills.jsx";
import TokenDialog from "./components/TokenDialog.jsx";
import Tree from "./components/Tree.jsx";

export default function App() {
  return (
    <div className="page">
      <Header />
      <aside className="side">
        <Tree />
        <Kills />
      </aside>
      <main className="cards">
        {cards.map((Card, place) => (
          <Card key={place} />
        ))}
      </main>
      <FrameLog />
      <TokenDialog />
    </div>
  );
}
