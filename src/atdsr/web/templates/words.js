// How figures are written for people.

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (seconds < 1) return "1\u00a0s";
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
  return `${Math.floor(seconds / 3600)}\u00a0h ${Math.round((seconds % 3600) / 60)}\u00a0min`;
}

export function bytes(count) {
  if (count < 1000) return `${count}\u00a0B`;
  if (count < 1e6) return `${Math.round(count / 1e3)}\u00a0kB`;
  return `${(count / 1e6).toFixed(1)}\u00a0MB`;
}

export function ordinal(number) {
  const ending = { one: "st", two: "nd", few: "rd", other: "th" };
  return number + ending[new Intl.PluralRules("en", { type: "ordinal" }).select(number)];
}
