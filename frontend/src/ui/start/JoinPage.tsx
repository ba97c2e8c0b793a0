import { ArrowRight } from "lucide-react";
import { type FormEvent, useEffect, useState } from "react";
import { api } from "../../core/api.ts";
import { codeOf, explain, explainCode, type Told } from "../../core/errors.ts";
import { recall, remember } from "../../core/memory.ts";
import { navigate } from "../navigation.ts";
import { Button } from "../parts/Button.tsx";
import { Failure, Problem } from "../parts/Failure.tsx";
import { Field } from "../parts/Field.tsx";
import { Logo } from "../parts/Logo.tsx";
import { ThemeToggle } from "../parts/ThemeToggle.tsx";

/** Where an invite link leads: it asks for a name and goes in. */
export function JoinPage({ secret }: { secret: string }) {
  const [name, setName] = useState(recall("name") ?? "");
  const [known, setKnown] = useState(false);
  const [told, setTold] = useState<Told | null>(null);
  const [dead, setDead] = useState(secret === "");
  const [busy, setBusy] = useState(false);

  useEffect(() => {
    document.title = "Join · Ensemble";
    let live = true;
    api.me().then(
      (me) => {
        if (!live) return;
        setName(me.name);
        setKnown(true);
      },
      // A browser without a session asks for a name, and that is all.
      () => {},
    );
    return () => {
      live = false;
    };
  }, []);

  const join = async (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setTold(null);
    try {
      const person = name.trim();
      remember("name", person);
      const joined = await api.join(secret, person);
      navigate(`/p/${joined.project.id}`);
    } catch (error) {
      if (codeOf(error) === "invite_invalid") setDead(true);
      else setTold(explain(error));
      setBusy(false);
    }
  };

  if (dead) return <Failure told={explainCode("invite_invalid")} />;
  return (
    <div className="flex min-h-full flex-col">
      <header className="mx-auto flex w-full max-w-6xl items-center justify-between px-6 py-5">
        <Logo />
        <ThemeToggle />
      </header>
      <main className="flex flex-1 items-center justify-center px-6 pb-24">
        <form onSubmit={join} className="flex w-full max-w-sm flex-col gap-6">
          <div className="flex flex-col gap-2">
            <h1 className="text-[28px] leading-tight font-semibold tracking-[-0.028em]">
              You are invited
            </h1>
            <p className="text-muted text-pretty">
              Somebody asked you to write code with them. Say who you are and go in; there is no
              account to make.
            </p>
          </div>
          <Field
            label="Your name"
            name="your-name"
            placeholder="How others see you"
            value={name}
            maxLength={40}
            required
            autoFocus
            readOnly={known}
            note={known ? "This browser is known here by this name." : undefined}
            onChange={(event) => setName(event.target.value)}
          />
          {told ? <Problem told={told} /> : null}
          <Button look="accent" size="large" type="submit" disabled={busy} className="self-start">
            {busy ? "Going in…" : "Join"}
            <ArrowRight size={16} aria-hidden="true" />
          </Button>
        </form>
      </main>
    </div>
  );
}
