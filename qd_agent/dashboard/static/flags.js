// What the short words on a frame mean, in a sentence.

const WORDS = {
  dark_missing: "no dark was at hand: none subtracted",
  dark_stale: "the dark is too old",
  background_missing: "the background run that is named could not be had: none subtracted",
  background_stale: "the background is too old",
  background_not_subtracted: "not subtracted: it is as large as the frame",
  saturated_pixels: "saturated pixels were left out",
  off_centre: "the beam is not where the PONI says: sizes come out too small; calibrate anew, check the orientation",
  monitor_missing: "no monitor reading: intensities of frames do not compare",
  wavelength_missing: "no wavelength in the documents: the geometry's was taken",
  exposure_missing: "no exposure time in the documents",
  temperature_missing: "no temperature in the documents",
  out_of_reach: "its file (or a dark) was not to be had at the last try",
  outside_classes: "beyond the sizes that the model was made for",
  wide_dispersion: "sizes spread widely, or the nanocrystals are not round: compare by the volume average",
};

/** Give a flag's meaning; one that is not known as it is. */
export function inWords(flag) {
  return Object.hasOwn(WORDS, flag) ? WORDS[flag] : flag;
}
