// Whether the chosen frame's number can be trusted: fit, domain, corrections, model.

import { fixed, span } from "./format.js";

const FLAGS = {
  dark_missing: "no dark was subtracted", dark_stale: "the dark is old", saturated_pixels: "saturated pixels left out",
  monitor_missing: "no monitor reading", outside_classes: "beyond the sizes that the model was made for",
};
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
  const known = ["dark_missing", "dark_stale", "saturated_pixels", "monitor_missing"];
  const others = [...flags].filter((flag) => !known.includes(flag));
  return [
    misfit(prediction, usualMisfit),
    domain(prediction, quality),
    dark(flags, quality, from),
    background(quality),
    saturation(flags, quality),
    monitor(flags, prediction.readings || {}),
    coverage(curves, quality),
    ...others.map((flag) => ["warn", "Warning", FLAGS[flag] || flag]),
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
  const score = Number.isFinite(quality.domain_score) ? `, score ${fixed(quality.domain_score, 2)}` : "";
  return [mark, "Domain", words + score];
}

function dark(flags, quality, from) {
  if (flags.has("dark_missing")) return ["warn", "Dark", FLAGS.dark_missing];
  const age = Number.isFinite(quality.dark_age_s) ? `${span(quality.dark_age_s)} old` : "";
  if (flags.has("dark_stale")) return ["warn", "Dark", age || FLAGS.dark_stale];
  if (!from.dark_hash) return ["none", "Dark", age || "none in use"];
  return ["ok", "Dark", `${age || "subtracted"} (${from.dark_hash.slice(0, 8)})`];
}

function background(quality) {
  const age = quality.background_age_s;
  if (!Number.isFinite(age)) return ["none", "Background", "none subtracted: it is part of the fit"];
  return ["ok", "Background", `${span(age)} old`];
}

function saturation(flags, quality) {
  const share = quality.saturated_share;
  if (Number.isFinite(share) && share > 0) return ["warn", "Saturation", `${fixed(share * 100, 2)} % of the pixels, left out`];
  return flags.has("saturated_pixels") ? ["warn", "Saturation", FLAGS.saturated_pixels] : ["ok", "Saturation", "none"];
}

function monitor(flags, readings) {
  if (flags.has("monitor_missing")) return ["warn", "Monitor", FLAGS.monitor_missing];
  const name = Object.keys(readings).find((key) => /monitor|i0|ion/i.test(key));
  return name ? ["ok", "Monitor", `${Number(readings[name].toPrecision(4))} (${name})`] : ["none", "Monitor", "not in use"];
}

function coverage(curves, quality) {
  if (Number.isFinite(quality.q_min) && Number.isFinite(quality.q_max)) {
    return range(quality.q_min, quality.q_max, quality.q_coverage);
  }
  if (!curves) return ["none", "Q range", "the pattern is not kept (any more)"];
  const seen = curves.q.filter((_, i) => curves.intensity[i] > 0);
  if (seen.length === 0) return ["bad", "Q range", "nothing"];
  return range(seen[0], seen[seen.length - 1], seen.length / curves.q.length);
}

function range(low, high, share) {
  const text = `${fixed(low, 2)} to ${fixed(high, 2)} Å⁻¹, ${fixed(share * 100, 0)} % of the grid`;
  return [share < 0.7 ? "warn" : "ok", "Q range", text];
}
