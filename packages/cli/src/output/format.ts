const byteUnits = ["B", "KB", "MB", "GB", "TB"] as const;

/** 1_234_567 → "1.23 MB": three significant digits, powers of 1000 as disks are sold and file managers count. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${threeDigits(value)} ${byteUnits[unit]}`;
}

/** 494_032_768 → "494 M". */
export function formatCount(count: number): string {
  if (count < 10_000) return String(count);
  if (count < 999_500) return `${threeDigits(count / 1e3)} K`;
  if (count < 999_500_000) return `${threeDigits(count / 1e6)} M`;
  return `${threeDigits(count / 1e9)} B`;
}

/** Milliseconds as people say them: "340 ms", "2.4 s", "3 min 5 s". */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A measured difference: three significant digits, exponent where that is shorter; 0 stays "0". */
export function formatNumber(value: number): string {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** "1 tensor", "2 tensors". */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function threeDigits(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
