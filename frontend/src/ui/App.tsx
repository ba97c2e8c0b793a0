import { Tooltip } from "radix-ui";
import { lazy, Suspense } from "react";
import { explainCode } from "../core/errors.ts";
import { useRoute } from "./navigation.ts";
import { Boundary } from "./parts/Boundary.tsx";
import { Broken, Failure } from "./parts/Failure.tsx";
import { Loading } from "./parts/Loading.tsx";
import { twice } from "./parts/later.ts";
import { JoinPage } from "./start/JoinPage.tsx";
import { StartPage } from "./start/StartPage.tsx";

const ProjectPage = lazy(() => twice(() => import("./project/ProjectPage.tsx")));

/** How long the pointer rests on a button before its name appears. */
const TOOLTIP_DELAY_MS = 450;

export function App() {
  return (
    <Tooltip.Provider delayDuration={TOOLTIP_DELAY_MS}>
      <Boundary instead={<Broken />}>
        <Page />
      </Boundary>
    </Tooltip.Provider>
  );
}

function Page() {
  const route = useRoute();
  switch (route.page) {
    case "start":
      return <StartPage />;
    case "join":
      return <JoinPage secret={route.secret} />;
    case "project":
      return (
        <Suspense fallback={<Loading label="Opening the project" />}>
          <ProjectPage key={route.project} project={route.project} />
        </Suspense>
      );
    case "unknown":
      return <Failure told={explainCode("not_found")} />;
  }
}
