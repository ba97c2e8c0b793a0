/** Browsers give hidden tabs no frames, and covered windows few; this timer stands in for them. */
const WITHOUT_FRAME_MS = 120;

/** Runs something once in the next frame, however often it was asked for. */
export class FrameTask {
  private frame: number | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly task: () => void) {}

  /** Asks for a run; further requests until then change nothing. */
  schedule(): void {
    if (this.timer !== null) return;
    this.timer = setTimeout(this.run, WITHOUT_FRAME_MS);
    if (typeof requestAnimationFrame === "function") {
      this.frame = requestAnimationFrame(this.run);
    }
  }

  /** Forgets a request that has not run yet. */
  cancel(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    this.timer = null;
    this.frame = null;
  }

  private readonly run = (): void => {
    this.cancel();
    this.task();
  };
}
