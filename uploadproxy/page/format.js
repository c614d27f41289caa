// @ts-check
/** Sizes and times as people read them. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/**
 * `1536` → `1.50 KiB`.
 * @param {number} bytes
 */
export function formatBytes(bytes) {
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`
}

/**
 * How old something is, in its largest unit: `95` seconds → `1 min`.
 * @param {number} seconds
 */
export function formatAge(seconds) {
  return formatDuration(seconds).split(' ').slice(0, 2).join(' ')
}

/**
 * `95` seconds → `1 min 35 s`, in words that a screen reader can say.
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const parts = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ]
  const first = parts.findIndex(([value]) => value !== 0)
  if (first === -1) return '0 s'
  // Two units are enough: nobody needs the seconds of a day.
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value !== 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ')
}
