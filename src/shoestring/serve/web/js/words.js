/** Numbers and times as people read them. */

export const count = (value) => Math.round(value).toLocaleString("en");

/** 3.2 -> "3.2 s"; 75 -> "1m15s"; 3720 -> "1h02m" */
export function seconds(value) {
  if (value < 9.95) return `${Math.max(0, value).toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")}m`;
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** 0.01234 -> "0.0123"; 12345 -> "12,345" */
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) return value.toExponential(2);
  return size >= 100 ? count(value) : String(Number(value.toPrecision(3)));
}

/** Long ago in one word, by days of this machine's clock. */
export function day(time, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - 864e5) return "Yesterday";
  if (time >= midnight - 7 * 864e5) return "Last seven days";
  return "Earlier";
}

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** Small sums keep two figures: 0.00065 USD. */
export const money = (usd) => `${usd < 0.1 ? Number(usd.toPrecision(2)) : usd.toFixed(2)} USD`;
