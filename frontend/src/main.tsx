import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { pageNonce } from "./core/nonce.ts";
import { followSystemTheme } from "./state/settings.ts";
import "./styles.css";
import { App } from "./ui/App.tsx";

// Dialogs keep the page from scrolling with a style element of their own.
setNonce(pageNonce());
followSystemTheme();

const root = document.getElementById("root");
if (!root) throw new Error("index.html has an element with the id root");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
