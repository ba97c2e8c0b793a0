import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `make dev` finds the server. */
const SERVER = process.env.ENSEMBLE_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  server: {
    port: 5173,
    strictPort: true,
    proxy: {
      "/api": { target: SERVER },
      "/health": { target: SERVER },
      "/sync": { target: SERVER, ws: true },
    },
  },
  build: {
    target: "es2022",
    // Files below this size would become data: URLs, which the policy forbids for scripts.
    assetsInlineLimit: 0,
    // The page never runs in a browser that lacks module preload.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
