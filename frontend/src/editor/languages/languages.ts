/** Which language a file is in, and its support, loaded when a file needs it. */

import type { StreamParser } from "@codemirror/language";
import type { Extension } from "@codemirror/state";

interface Language {
  name: string;
  /** What one step of indentation is. */
  indent: string;
  load: () => Promise<Extension>;
}

async function legacy(parser: Promise<StreamParser<unknown>>): Promise<Extension> {
  const { StreamLanguage } = await import("@codemirror/language");
  return StreamLanguage.define(await parser);
}

const script = (jsx: boolean, typescript: boolean) => async () =>
  (await import("@codemirror/lang-javascript")).javascript({ jsx, typescript });
const clike = (pick: "kotlin" | "csharp" | "scala" | "dart") => () =>
  legacy(import("@codemirror/legacy-modes/mode/clike").then((mode) => mode[pick]));

const TWO = "  ";
const FOUR = "    ";

const PYTHON: Language = {
  name: "Python",
  indent: FOUR,
  load: async () => (await import("@codemirror/lang-python")).python(),
};
const CPP: Language = {
  name: "C++",
  indent: FOUR,
  load: async () => (await import("@codemirror/lang-cpp")).cpp(),
};
const HTML: Language = {
  name: "HTML",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-html")).html(),
};
const CSS: Language = {
  name: "CSS",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-css")).css(),
};
const YAML: Language = {
  name: "YAML",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-yaml")).yaml(),
};
const MARKDOWN: Language = {
  name: "Markdown",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-markdown")).markdown(),
};
const XML: Language = {
  name: "XML",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-xml")).xml(),
};
const JSON_LANGUAGE: Language = {
  name: "JSON",
  indent: TWO,
  load: async () => (await import("@codemirror/lang-json")).json(),
};
const SHELL: Language = {
  name: "Shell",
  indent: TWO,
  load: () => legacy(import("@codemirror/legacy-modes/mode/shell").then((mode) => mode.shell)),
};
const DOCKERFILE: Language = {
  name: "Dockerfile",
  indent: FOUR,
  load: () =>
    legacy(import("@codemirror/legacy-modes/mode/dockerfile").then((mode) => mode.dockerFile)),
};
const TOML: Language = {
  name: "TOML",
  indent: TWO,
  load: () => legacy(import("@codemirror/legacy-modes/mode/toml").then((mode) => mode.toml)),
};
const RUBY: Language = {
  name: "Ruby",
  indent: TWO,
  load: () => legacy(import("@codemirror/legacy-modes/mode/ruby").then((mode) => mode.ruby)),
};
const JAVASCRIPT: Language = { name: "JavaScript", indent: TWO, load: script(true, false) };
const TYPESCRIPT: Language = { name: "TypeScript", indent: TWO, load: script(false, true) };

const BY_EXTENSION: Record<string, Language> = {
  js: JAVASCRIPT,
  mjs: JAVASCRIPT,
  cjs: JAVASCRIPT,
  jsx: { ...JAVASCRIPT, name: "JSX" },
  ts: TYPESCRIPT,
  mts: TYPESCRIPT,
  cts: TYPESCRIPT,
  tsx: { name: "TSX", indent: TWO, load: script(true, true) },
  py: PYTHON,
  pyi: PYTHON,
  rs: {
    name: "Rust",
    indent: FOUR,
    load: async () => (await import("@codemirror/lang-rust")).rust(),
  },
  html: HTML,
  htm: HTML,
  vue: HTML,
  svelte: HTML,
  css: CSS,
  scss: CSS,
  less: CSS,
  json: JSON_LANGUAGE,
  jsonc: JSON_LANGUAGE,
  md: MARKDOWN,
  markdown: MARKDOWN,
  go: { name: "Go", indent: "\t", load: async () => (await import("@codemirror/lang-go")).go() },
  java: {
    name: "Java",
    indent: FOUR,
    load: async () => (await import("@codemirror/lang-java")).java(),
  },
  c: { ...CPP, name: "C" },
  h: { ...CPP, name: "C" },
  cc: CPP,
  cpp: CPP,
  cxx: CPP,
  hpp: CPP,
  hh: CPP,
  sql: { name: "SQL", indent: TWO, load: async () => (await import("@codemirror/lang-sql")).sql() },
  yaml: YAML,
  yml: YAML,
  xml: XML,
  svg: XML,
  php: {
    name: "PHP",
    indent: FOUR,
    load: async () => (await import("@codemirror/lang-php")).php(),
  },
  sh: SHELL,
  bash: SHELL,
  zsh: SHELL,
  toml: TOML,
  rb: RUBY,
  kt: { name: "Kotlin", indent: FOUR, load: clike("kotlin") },
  cs: { name: "C#", indent: FOUR, load: clike("csharp") },
  scala: { name: "Scala", indent: TWO, load: clike("scala") },
  dart: { name: "Dart", indent: TWO, load: clike("dart") },
  swift: {
    name: "Swift",
    indent: FOUR,
    load: () => legacy(import("@codemirror/legacy-modes/mode/swift").then((mode) => mode.swift)),
  },
  lua: {
    name: "Lua",
    indent: TWO,
    load: () => legacy(import("@codemirror/legacy-modes/mode/lua").then((mode) => mode.lua)),
  },
  r: {
    name: "R",
    indent: TWO,
    load: () => legacy(import("@codemirror/legacy-modes/mode/r").then((mode) => mode.r)),
  },
  dockerfile: DOCKERFILE,
};

const BY_NAME: Record<string, Language> = {
  dockerfile: DOCKERFILE,
  makefile: { ...SHELL, name: "Makefile", indent: "\t" },
  gemfile: RUBY,
  ".bashrc": SHELL,
};

/** The language of a file by its name; `null` for plain text. */
export function languageOf(path: string): Language | null {
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase();
  const dot = name.lastIndexOf(".");
  const extension = dot > 0 ? name.slice(dot + 1) : "";
  return (
    BY_NAME[name] ??
    (Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined) ??
    null
  );
}
