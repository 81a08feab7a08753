// Colours after Okabe and Ito, which every common colour vision can tell apart, for both themes.

/** Give the colours that plots use now. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"), dim: of("dim"), grid: of("grid"), panel: of("panel"),
    blue: of("blue"), orange: of("orange"), green: of("green"), pink: of("pink"),
    band68: of("band68"), band90: of("band90"),
  };
}

/** Give by how much all that is drawn is larger: with big numbers it is read from afar. */
export function scale() {
  return document.body.classList.contains("big") ? Math.max(1, document.documentElement.clientWidth / 1150) : 1;
}

/** Give what all plots share; `margin` as on a desk. */
export function layout(more) {
  const c = colours();
  const times = scale();
  const around = more.margin || { l: 54, r: 14, t: 8, b: 48 };
  const axis = { gridcolor: c.grid, linecolor: c.grid, zeroline: false, tickcolor: c.grid, automargin: false, ticklabeloverflow: "allow" };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13 * times, color: c.ink },
    showlegend: false, hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: c.panel, bordercolor: c.dim, font: { color: c.ink } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: c.dim, activecolor: c.blue }, ...more,
    margin: Object.fromEntries(Object.entries(around).map(([side, px]) => [side, px * times])),
    xaxis: { ...axis, ...more.xaxis, title: { standoff: 6, ...more.xaxis.title } }, yaxis: { ...axis, ...(more.yaxis || {}) },
    ...(more.yaxis2 ? { yaxis2: { ...axis, ...more.yaxis2 } } : {}),
  };
}

/** Drag to zoom, double click to see all again; the bar of tools would hide what it lies on. */
export const CONFIG = { responsive: true, scrollZoom: false, doubleClick: "reset", displayModeBar: false };
