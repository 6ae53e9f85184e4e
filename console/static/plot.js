// One plot: uPlot with the page's colours, the circuit's shades behind, the threshold in front.

// uPlot's minified build is a plain script, which the page loads before the modules.
const { uPlot } = globalThis;

const FONT = "11px system-ui, sans-serif";
const STEPS = [5, 10, 15, 30, 60, 120, 180, 300];
const EDGE_PIXELS = 22;
const SHARED_CURSOR = uPlot.sync("plots");

export class Plot {
  #node;
  #form;
  #u = null;
  #frame = { range: [0, 1], shades: [], circuit: null };
  #items = [];

  /**
   * @param node element that holds the plot and sets its size.
   * @param form {series: [{of, colour, fill}], top, threshold, axis}.
   * @param pointed called with the index under the cursor, or null.
   */
  constructor(node, form, pointed) {
    this.#node = node;
    this.#form = form;
    this.onPointed = pointed;
    this.pointed = false;
    new ResizeObserver(() => this.#resize()).observe(node);
    this.recolour();
  }

  /** Draw items in a time range (seconds), over shades [{from, to, state}]. */
  draw(items, frame) {
    this.#items = items;
    this.#frame = frame;
    this.#u.batch(() => {
      this.#u.setData(this.#data(), false);
      this.#u.setScale("x", { min: frame.range[0], max: frame.range[1] });
    });
  }

  /** Recreate the plot in the colours of the theme. */
  recolour() {
    this.#u?.destroy();
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    this.#u = new uPlot(this.#options(colour), this.#data(), this.#node);
  }

  #data() {
    const rows = this.#form.series.map(({ of }) => this.#items.map((item) => of(item) ?? null));
    return [this.#items.map((item) => item.time / 1000), ...rows];
  }

  #options(colour) {
    const axis = { font: FONT, stroke: colour("--ink-3"), ticks: { show: false } };
    const grid = { stroke: colour("--grid"), width: 1 };
    return {
      ...this.#size(),
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 6 },
        sync: { key: SHARED_CURSOR.key, setSeries: false },
      },
      scales: {
        x: { time: true, range: () => this.#frame.range },
        y: { range: (_, __, most) => [0, this.#form.top(most ?? 0, this.#frame.circuit)] },
      },
      axes: [
        {
          ...axis,
          size: 24,
          gap: 4,
          grid: { show: false },
          space: 62,
          incrs: STEPS,
          values: clockValues,
        },
        {
          ...axis,
          size: 46,
          gap: 6,
          grid,
          space: 26,
          values: (_, marks) => marks.map((mark) => this.#form.axis(mark)),
        },
      ],
      series: [
        {},
        ...this.#form.series.map(({ colour: name, fill }) => ({
          stroke: colour(name),
          width: 1.5,
          fill: fill ? colour(`${name}-fill`) : undefined,
          points: { show: false },
        })),
      ],
      hooks: {
        drawClear: [(u) => this.#shade(u, colour)],
        draw: [(u) => this.#threshold(u, colour)],
        setCursor: [(u) => this.#point(u)],
      },
    };
  }

  #point(u) {
    const index = u.cursor.idx ?? null;
    const here = index !== null && u.cursor.left >= 0;
    if (!here && !this.pointed) return;
    this.pointed = here;
    this.onPointed(here ? index : null);
  }

  #shade(u, colour) {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    for (const { from, to, state } of this.#frame.shades) {
      const x = u.valToPos(from / 1000, "x", true);
      u.ctx.fillStyle = colour(`--shade-${state}`);
      u.ctx.fillRect(x, top, u.valToPos(to / 1000, "x", true) - x, height);
    }
    u.ctx.restore();
  }

  #threshold(u, colour) {
    const threshold = this.#form.threshold?.(this.#frame.circuit);
    if (!threshold) return;
    const { left, width } = u.bbox;
    const y = Math.round(u.valToPos(threshold, "y", true)) + 0.5;
    const pixels = devicePixelRatio;
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = colour("--state-open");
    u.ctx.lineWidth = pixels;
    u.ctx.setLineDash([5 * pixels, 4 * pixels]);
    u.ctx.beginPath();
    u.ctx.moveTo(left, y);
    u.ctx.lineTo(left + width, y);
    u.ctx.stroke();
    u.ctx.font = FONT.replace("11px", `${11 * pixels}px`);
    u.ctx.textAlign = "left";
    u.ctx.textBaseline = "bottom";
    const opens = this.#frame.circuit.mode === "observe" ? "would open" : "opens";
    u.ctx.fillText(`${opens} at ${threshold}`, left + 6 * pixels, y - 2 * pixels);
    u.ctx.restore();
  }

  #size() {
    return { width: this.#node.clientWidth || 300, height: this.#node.clientHeight || 120 };
  }

  #resize() {
    const { width, height } = this.#size();
    if (this.#u && (this.#u.width !== width || this.#u.height !== height)) {
      this.#u.setSize({ width, height });
    }
  }
}

const marksFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const secondsFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Return the labels of the time axis; labels at its ends, where they do not fit, are empty. */
function clockValues(u, marks, _, __, step) {
  const format = step < 60 ? secondsFormat : marksFormat;
  const { min, max } = u.scales.x;
  const edge = ((max - min) * EDGE_PIXELS * devicePixelRatio) / u.bbox.width;
  const fits = (mark) => mark >= min + edge && mark <= max - edge;
  return marks.map((mark) => (fits(mark) ? format.format(new Date(mark * 1000)) : ""));
}
