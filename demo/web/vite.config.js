import { defineConfig } from "vite";

// `npm run dev` serves the page alone and hands the rest to a running demo.
const demo = "http://127.0.0.1:4000";

export default defineConfig({
  base: "./",
  build: {
    modulePreload: { polyfill: false },
  },
  server: {
    host: "127.0.0.1",
    proxy: {
      "/socket": { target: demo, ws: true },
      "/bennu": demo,
      "/api": demo,
    },
  },
});
