// Whether the chosen frame's number can be trusted: fit, domain, corrections, model.
// What a prediction does not carry is said to be not known; nothing is taken for fine without ground.

import { inWords } from "./flags.js";
import { fixed, span } from "./format.js";

const GRID = { low: 0.99, high: 15 }; // Å⁻¹, of the published patterns
const SHOWN_ABOVE = [
  "dark_missing", "dark_stale", "background_missing", "background_stale", "background_not_subtracted",
  "saturated_pixels", "monitor_missing", "off_centre",
];
const VERDICTS = {
  sized: ["ok", "like what the model knows"], no_nanocrystals: ["none", "no nanocrystals seen"],
  out_of_domain: ["bad", "unlike what the model knows"], insufficient_q: ["bad", "too little of Q"],
  bad_frame: ["bad", "no usable frame"],
};

/**
 * Give the facts about a frame.
 * @param prediction as it is in Redis.
 * @param curves its pattern, or null.
 * @param usualMisfit median of the run's sized frames, or null.
 */
export function trustFacts(prediction, curves, usualMisfit) {
  const flags = new Set(prediction.flags || []);
  const quality = prediction.quality || {};
  const from = prediction.provenance || {};
  const others = [...flags].filter((flag) => !SHOWN_ABOVE.includes(flag));
  return [
    misfit(prediction, usualMisfit),
    domain(prediction, quality),
    dark(flags, quality.dark_age_s, from.dark_hash),
    background(flags, quality.background_age_s, from.background_hash),
    saturation(flags, quality),
    monitor(flags, quality, prediction.readings || {}),
    centre(flags, quality),
    coverage(curves, quality),
    ...others.map((flag) => ["warn", "Warning", inWords(flag)]),
    ["none", "Model", `${from.model_name} ${from.model_version} (${String(from.model_sha256).slice(0, 12)})`],
    ["none", "Settings", `configuration ${from.config_hash}, agent ${from.package_version}`],
  ];
}

function misfit(prediction, usual) {
  const value = prediction.misfit;
  if (value === null || value === undefined) return ["none", "Misfit", "no Debye pattern was fitted"];
  const poor = usual !== null && value > Math.max(0.05, 2 * usual);
  const beside = usual === null ? "" : `; usual here ${fixed(usual * 100, 1)} %`;
  return [poor ? "warn" : "ok", "Misfit", `${fixed(value * 100, 1)} % beyond noise${beside}`];
}

function domain(prediction, quality) {
  const [mark, words] = VERDICTS[prediction.verdict] || ["warn", prediction.verdict];
  const score = quality.domain_score;
  return [mark, "Domain", `${words}; score ${Number.isFinite(score) ? `${fixed(score, 2)} of 1` : "not known"}`];
}

function dark(flags, age, hash) {
  if (flags.has("dark_missing")) return ["warn", "Dark", inWords("dark_missing")];
  const stale = flags.has("dark_stale");
  if (!hash && !stale && !Number.isFinite(age)) return ["none", "Dark", "none subtracted"];
  return corrected("Dark", age, hash, stale ? inWords("dark_stale") : "");
}

function background(flags, age, hash) {
  for (const flag of ["background_missing", "background_not_subtracted"]) {
    if (flags.has(flag)) return ["warn", "Background", inWords(flag)];
  }
  const stale = flags.has("background_stale");
  if (!hash && !stale && !Number.isFinite(age)) return ["none", "Background", "none subtracted: it is part of the fit"];
  return corrected("Background", age, hash, stale ? inWords("background_stale") : "");
}

function corrected(name, age, hash, trouble) {
  const old = Number.isFinite(age) ? `${span(age)} from the frame` : "age not known";
  const which = hash ? ` (${String(hash).slice(0, 8)})` : "";
  return [trouble ? "warn" : "ok", name, `${trouble ? `${trouble}: ` : "subtracted, "}${old}${which}`];
}

// An agent that says anything of a frame's quality has looked for a monitor and a limit too.
const isSilent = (quality) => Object.keys(quality).length === 0;

function saturation(flags, quality) {
  const share = quality.saturated_share;
  if (share > 0) return ["warn", "Saturation", `${percent(share)} of the pixels, left out`];
  if (flags.has("saturated_pixels")) return ["warn", "Saturation", `${inWords("saturated_pixels")}, how many is not known`];
  if (share === 0) return ["ok", "Saturation", "none seen"];
  return ["none", "Saturation", isSilent(quality) ? "not known" : "not looked for: no limit is set"];
}

function percent(share) {
  return share < 0.0001 ? "below 0.01 %" : `${fixed(share * 100, share < 0.01 ? 2 : 1)} %`;
}

function monitor(flags, quality, readings) {
  if (flags.has("monitor_missing")) return ["warn", "Monitor", inWords("monitor_missing")];
  const value = Number.isFinite(quality.monitor) ? quality.monitor : readings.declared_monitor;
  if (Number.isFinite(value)) return ["ok", "Monitor", value.toLocaleString("en-GB", { maximumSignificantDigits: 5 })];
  return ["none", "Monitor", isSilent(quality) ? "not known" : "not in use"];
}

function centre(flags, quality) {
  const { centre_shift: shift, centre_shift_error: error } = quality;
  const by = Number.isFinite(shift) && Number.isFinite(error) ? `off by ${fixed(shift, 4)} ± ${fixed(error, 4)} Å⁻¹` : "";
  if (flags.has("off_centre")) return ["warn", "Beam centre", by ? `${inWords("off_centre")} (${by})` : inWords("off_centre")];
  if (by) return ["ok", "Beam centre", by];
  return ["none", "Beam centre", isSilent(quality) ? "not known" : "opposite sides of the detector do not show it"];
}

function coverage(curves, quality) {
  if (Number.isFinite(quality.q_min) && Number.isFinite(quality.q_max)) {
    return range(quality.q_min, quality.q_max, quality.q_coverage);
  }
  if (!curves) return ["none", "Q range", "not known: the pattern is not kept (any more)"];
  const first = curves.intensity.findIndex((value) => value > 0);
  if (first < 0) return ["bad", "Q range", "nothing was measured"];
  const last = curves.intensity.findLastIndex((value) => value > 0);
  const seen = curves.intensity.filter((value) => value > 0).length;
  return range(curves.q[first], curves.q[last], seen / (last - first + 1));
}

function range(low, high, share) {
  const known = Number.isFinite(share) ? `, ${fixed(share * 100, 0)} % of it measured` : "";
  const seen = ((high - low) / (GRID.high - GRID.low)) * (Number.isFinite(share) ? share : 1);
  return [seen < 0.7 ? "warn" : "ok", "Q range", `${fixed(low, 2)} to ${fixed(high, 2)} Å⁻¹${known}`];
}
