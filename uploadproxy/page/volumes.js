// @ts-check
/** The list of DataVolumes, kept up to date in place: what is focused or open stays so. */
import { ApiError, explain } from './api.js'
import { element } from './elements.js'
import { formatAge } from './format.js'

/** @typedef {import('./api.js').DataVolume} DataVolume */

const badges = new Map([
  ['Succeeded', 'good'],
  ['Failed', 'bad'],
  ['UploadReady', ''],
  ['WaitForFirstConsumer', 'wait'],
  ['PendingPopulation', 'wait'],
  ['Pending', 'wait'],
  ['', 'wait'],
])

const sources = new Map([
  ['http', 'web server'],
  ['registry', 'container image'],
  ['pvc', 'copy of a claim'],
  ['s3', 'S3'],
  ['gcs', 'Google Cloud Storage'],
])

const askMs = 2_000
const askLessMs = 15_000

/** Whether an upload into it may begin now. @param {DataVolume} volume */
export function takesUpload({ source, phase }) {
  return source === 'upload' && phase === 'UploadReady'
}

/**
 * Why an upload volume takes no upload yet, in words; empty if it does, or is none.
 * @param {DataVolume} volume
 */
export function whyNotYet({ source, phase }) {
  if (source !== 'upload' || phase === 'UploadReady' || phase === 'Succeeded') return ''
  if (phase === 'WaitForFirstConsumer' || phase === 'PendingPopulation') {
    return 'Waits for a pod that uses it. Start its virtual machine, or make it with the annotation cdi.kubevirt.io/storage.bind.immediate.requested.'
  }
  return phase === 'Failed' ? '' : 'Not ready for an upload yet.'
}

export class VolumeList {
  #o
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map()
  /** @type {DataVolume[]} */
  #items = []
  #stop = new AbortController()
  /** @type {string | undefined} */
  #lastText

  /**
   * @param {object} options
   * @param {import('./api.js').PageApi} options.api
   * @param {string} options.namespace
   * @param {(items: DataVolume[]) => void} options.onItems after each look
   * @param {(name: string) => void} options.onChoose the user wants to upload into that one
   * @param {(text: string) => void} options.announce for screen readers
   */
  constructor(options) {
    this.#o = options
  }

  /**
   * Asks once; throws what the API throws. From then on the list is kept up to date.
   */
  async start() {
    await this.#look()
    void this.#follow()
  }

  stop() {
    this.#stop.abort()
    for (const row of this.#rows.values()) row.remove()
    this.#rows.clear()
  }

  async #follow() {
    const { signal } = this.#stop
    const error = element('volumes-error')
    let failures = 0
    while (!signal.aborted) {
      await pause(document.hidden ? askLessMs : Math.min(askLessMs, askMs * 2 ** failures), signal)
      if (signal.aborted) return
      try {
        await this.#look()
        failures = 0
        error.hidden = true
      } catch (thrown) {
        if (signal.aborted) return
        failures = Math.min(failures + 1, 4)
        const text = explain(thrown)
        // One failure is mostly a restart of the proxy.
        if (failures > 1 || (thrown instanceof ApiError && thrown.status === 401)) {
          if (error.hidden || error.textContent !== text) error.textContent = text
          error.hidden = false
          element('volumes-state').textContent = 'out of date'
        }
      }
    }
  }

  async #look() {
    const { items, truncated } = await this.#o.api.dataVolumes(this.#stop.signal)
    this.#announceChanges(items)
    this.#items = items
    this.#draw()
    const count = items.length === 1 ? '1 volume' : `${items.length} volumes`
    const text = truncated ? `the first ${items.length}` : count
    if (text !== this.#lastText) element('volumes-state').textContent = text
    if (element('volumes-state').textContent === 'out of date') element('volumes-state').textContent = text
    this.#lastText = text
    element('volumes-empty').hidden = items.length > 0
    this.#o.onItems(items)
  }

  /** @param {DataVolume[]} items */
  #announceChanges(items) {
    const before = new Map(this.#items.map(({ name, phase }) => [name, phase]))
    for (const { name, phase } of items) {
      if (before.has(name) && before.get(name) !== phase) this.#o.announce(`${name} is now ${phase || 'new'}`)
    }
  }

  #draw() {
    const list = element('volume-list')
    const names = new Set(this.#items.map(({ name }) => name))
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue
      row.remove()
      this.#rows.delete(name)
    }
    for (const [index, volume] of this.#items.entries()) {
      let row = this.#rows.get(volume.name)
      if (row === undefined) {
        row = this.#newRow(volume.name)
        this.#rows.set(volume.name, row)
      }
      // Moving an element that stands right would take the focus from it.
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null)
      fill(row, volume)
    }
  }

  /** @param {string} name */
  #newRow(name) {
    const template = /** @type {HTMLTemplateElement} */ (element('volume-template'))
    const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true))
    part(row, 'h3').textContent = name
    part(row, 'progress').setAttribute('aria-label', `Progress of ${name}`)
    part(row, 'summary').setAttribute('aria-label', `Conditions of ${name}`)
    const button = part(row, '.choose')
    button.setAttribute('aria-label', `Upload into ${name}`)
    button.addEventListener('click', () => this.#o.onChoose(name))
    return row
  }
}

/**
 * @param {HTMLElement} row
 * @param {DataVolume} volume
 */
function fill(row, volume) {
  const { phase, size, source, restarts, age, conditions } = volume
  const badge = part(row, '.badge')
  setText(badge, phase === '' ? 'New' : phase)
  badge.className = `badge ${badges.get(phase) ?? ''}`.trim()
  const facts = [
    size === null ? undefined : size,
    source === 'upload' ? 'upload' : `from ${sources.get(source) ?? source}`,
    `${formatAge(age)} old`,
    restarts > 0 ? `${restarts} ${restarts === 1 ? 'restart' : 'restarts'}` : undefined,
  ]
  const why = whyNotYet(volume)
  setText(
    part(row, '.facts-line'),
    facts.filter((fact) => fact !== undefined).join(' · ') + (why === '' ? '' : `\n${why}`),
  )
  const bar = /** @type {HTMLProgressElement} */ (part(row, 'progress'))
  const percent = Number.parseFloat(volume.progress)
  bar.hidden = Number.isNaN(percent) || phase === 'Succeeded'
  if (!bar.hidden) bar.value = percent
  part(row, 'details').hidden = conditions.length === 0
  fillConditions(part(row, 'dl'), volume)
  part(row, '.choose').hidden = !takesUpload(volume)
}

/**
 * @param {HTMLElement} list
 * @param {DataVolume} volume
 */
function fillConditions(list, { conditions }) {
  const wanted = conditions.map(({ type, status, reason, message }) => [
    `${type}: ${status}`,
    [reason, message].filter((text) => text !== '').join(' – ') || '–',
  ])
  const key = JSON.stringify(wanted)
  if (list.dataset['shown'] === key) return
  list.dataset['shown'] = key
  list.replaceChildren(
    ...wanted.flatMap(([term = '', text = '']) => {
      const dt = document.createElement('dt')
      dt.textContent = term
      const dd = document.createElement('dd')
      dd.textContent = text
      return [dt, dd]
    }),
  )
}

/**
 * @param {HTMLElement} row
 * @param {string} selector
 */
function part(row, selector) {
  const found = row.querySelector(selector)
  if (!(found instanceof HTMLElement)) throw new Error(`the page lacks ${selector}`)
  return found
}

/**
 * Touches the page only when something changed, so that selections and screen readers are left in peace.
 * @param {HTMLElement} target
 * @param {string} text
 */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', onVisible)
      signal.removeEventListener('abort', over)
      resolve()
    }
    const onVisible = () => {
      if (!document.hidden) over()
    }
    const timer = setTimeout(over, ms)
    document.addEventListener('visibilitychange', onVisible)
    signal.addEventListener('abort', over)
  })
}
