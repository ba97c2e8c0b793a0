import { ArrowRight, FolderOpen } from "lucide-react";
import { type FormEvent, useEffect, useState } from "react";
import { api } from "../../core/api.ts";
import { explain, explainCode, type Told } from "../../core/errors.ts";
import { recall, remember } from "../../core/memory.ts";
import type { ProjectSummary, ServerInfo } from "../../core/protocol.ts";
import { keepFirstLink } from "../../state/first-link.ts";
import { navigate } from "../navigation.ts";
import { Button } from "../parts/Button.tsx";
import { Problem } from "../parts/Failure.tsx";
import { Field } from "../parts/Field.tsx";
import { Logo } from "../parts/Logo.tsx";
import { ThemeToggle } from "../parts/ThemeToggle.tsx";
import { ago } from "../parts/time.ts";
import { Scene } from "./Scene.tsx";

const ROLE_WORDS = { owner: "Owner", editor: "Can edit", viewer: "Can read" };

/** The first page: a new project, or one of those this browser knows. */
export function StartPage() {
  const [info, setInfo] = useState<ServerInfo | null>(null);
  const [projects, setProjects] = useState<ProjectSummary[] | null>(null);
  const [unreachable, setUnreachable] = useState(false);

  useEffect(() => {
    document.title = "Ensemble";
    let live = true;
    api.info().then(
      (found) => live && setInfo(found),
      () => live && setUnreachable(true),
    );
    api.projects().then(
      (found) => live && setProjects(found),
      // Nobody is signed in here yet, which is how everybody starts.
      () => live && setProjects([]),
    );
    return () => {
      live = false;
    };
  }, []);

  return (
    <div className="flex min-h-full flex-col">
      <header className="mx-auto flex w-full max-w-6xl items-center justify-between px-6 py-5">
        <Logo />
        <ThemeToggle />
      </header>
      <main className="mx-auto grid w-full max-w-6xl flex-1 items-center gap-x-16 gap-y-12 px-6 pt-4 pb-16 lg:grid-cols-[minmax(0,420px)_minmax(0,1fr)]">
        <div className="flex flex-col gap-8">
          <div className="flex flex-col gap-4">
            <h1 className="text-[34px] leading-[1.12] font-semibold tracking-[-0.032em] text-balance sm:text-[40px]">
              Write code together, with an agent at the table
            </h1>
            <p className="text-[15px] leading-relaxed text-muted text-pretty">
              Ensemble is a code editor in which several people and a fast model type in the same
              file at the same time.
            </p>
          </div>
          {unreachable ? <Problem told={explainCode("offline")} /> : null}
          {info?.access === "invite" ? <Closed /> : <NewProject />}
          {info?.model.demo ? (
            <p className="border-l-2 border-accent-line pl-3 text-[13px] leading-relaxed text-muted text-pretty">
              The agent here is the built-in demo model. It works by rules, so it can rename,
              document and explain, but it does not think. Set{" "}
              <code className="rounded bg-sunken px-1 py-0.5 font-mono text-[12px]">
                OPENAI_API_KEY
              </code>{" "}
              on the server for a real one.
            </p>
          ) : null}
          {info && !info.secure ? (
            <p className="border-l-2 border-warn-line pl-3 text-[13px] leading-relaxed text-muted">
              This server is reached without https, so others on the network could read along.
            </p>
          ) : null}
        </div>
        <div className="flex min-w-0 flex-col gap-10">
          <Scene />
          <Recent projects={projects} />
        </div>
      </main>
    </div>
  );
}

function NewProject() {
  const [name, setName] = useState("");
  const [yourName, setYourName] = useState(recall("name") ?? "");
  const [told, setTold] = useState<Told | null>(null);
  const [busy, setBusy] = useState(false);

  const create = async (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setTold(null);
    try {
      const person = yourName.trim();
      remember("name", person);
      const made = await api.createProject(name.trim() || "Untitled project", person || "Guest");
      keepFirstLink(made.project.id, made.link);
      navigate(`/p/${made.project.id}`);
    } catch (error) {
      setTold(explain(error));
      setBusy(false);
    }
  };

  return (
    <form onSubmit={create} className="flex flex-col gap-4" aria-label="New project">
      <div className="grid gap-4 sm:grid-cols-2">
        <Field
          label="Project"
          name="project"
          placeholder="Untitled project"
          value={name}
          maxLength={80}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="Your name"
          name="your-name"
          placeholder="How others see you"
          value={yourName}
          maxLength={40}
          required
          onChange={(event) => setYourName(event.target.value)}
        />
      </div>
      {told ? <Problem told={told} /> : null}
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <Button look="accent" size="large" type="submit" disabled={busy}>
          {busy ? "Starting…" : "Start a project"}
          <ArrowRight size={16} aria-hidden="true" />
        </Button>
        <span className="text-[12.5px] text-faint">No account needed</span>
      </div>
    </form>
  );
}

function Closed() {
  const told = explainCode("projects_closed");
  return (
    <div className="rounded-xl border border-line bg-raised p-4">
      <p className="font-medium">{told.title}</p>
      <p className="mt-1 text-[13px] text-muted">
        {told.action} If you have one, open it; it asks only for your name.
      </p>
    </div>
  );
}

function Recent({ projects }: { projects: ProjectSummary[] | null }) {
  if (projects === null) return <div className="h-24" aria-hidden="true" />;
  return (
    <section aria-labelledby="recent">
      <h2 id="recent" className="mb-2 text-[13px] font-medium text-muted">
        Projects of this browser
      </h2>
      {projects.length === 0 ? (
        <p className="rounded-xl border border-dashed border-line-strong px-4 py-5 text-[13px] text-muted">
          None yet. Start one, or open an invite link somebody sent you.
        </p>
      ) : (
        <ul className="overflow-hidden rounded-xl border border-line bg-raised">
          {projects.slice(0, 8).map((project) => (
            <li key={project.id} className="border-b border-line last:border-b-0">
              <a
                href={`/p/${project.id}`}
                onClick={(event) => {
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
                  event.preventDefault();
                  navigate(`/p/${project.id}`);
                }}
                className="flex items-center gap-3 px-4 py-2.5 -outline-offset-2 transition-colors hover:bg-hover"
              >
                <FolderOpen size={16} className="shrink-0 text-faint" aria-hidden="true" />
                <span className="min-w-0 flex-1 truncate font-medium">{project.name}</span>
                <span className="shrink-0 text-[12.5px] text-faint">
                  {ROLE_WORDS[project.role]} · {ago(project.created_at)}
                </span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
