// @ts-check
/** The part of the page that uploads: which volume, which file, how far, and what to do about trouble. */
import { button, element, input, notice, progress, select } from './elements.js'
import { formatBytes, formatDuration } from './format.js'
import { RateMeter } from './rate-meter.js'
import { TusUpload } from './tus-upload.js'
import { UnfinishedUploads } from './unfinished.js'
import { readUploadToken } from './upload-token.js'
import { takesUpload } from './volumes.js'

/**
 * @typedef {import('./access.js').Access} Access
 * @typedef {import('./api.js').DataVolume} DataVolume
 * @typedef {import('./tus-upload.js').UploadState} UploadState
 */

const endpoint = new URL('../v1beta1/upload-tus', import.meta.url)
/** Before the end of a token, so that a request does not start with one that ends on the way. */
const tokenMarginMs = 45_000
/** Of an upload token. */
const usualLifeMs = 300_000
const drawMs = 200
const saveMs = 2_000

const stateWords = {
  idle: ['', ''],
  running: ['Uploading', ''],
  waiting: ['Waiting', 'wait'],
  needsToken: ['Token needed', 'wait'],
  paused: ['Paused', 'wait'],
  processing: ['Finishing', ''],
  finished: ['Finished', 'good'],
  failed: ['Failed', 'bad'],
  cancelled: ['Cancelled', 'wait'],
}

export class UploadPanel {
  #announce
  #unfinished = new UnfinishedUploads(localStorage)
  #meter = new RateMeter()
  /** @type {Access | undefined} */
  #access
  /** @type {import('./api.js').PageApi | undefined} */
  #api
  /** @type {DataVolume[]} */
  #volumes = []
  /** @type {File | undefined} */
  #file
  /** @type {TusUpload | undefined} */
  #upload
  /** @type {{ file: File, namespace: string, pvcName: string, address: string | undefined } | undefined} */
  #current
  /** @type {{ token: string, untilMs: number } | undefined} */
  #token
  #doneBytes = 0
  #drawnMs = 0
  #savedMs = 0
  #announcedTenth = 0
  #invitation = [...element('file-label').childNodes]

  /** @param {{ announce: (text: string) => void }} options */
  constructor({ announce }) {
    this.#announce = announce
    element('upload-form').addEventListener('submit', (event) => {
      event.preventDefault()
      this.#start()
    })
    input('file').addEventListener('change', () => this.#choose(input('file').files?.[0]))
    element('target').addEventListener('change', () => this.#retarget())
    button('pause').addEventListener('click', () => {
      this.#upload?.pause()
      button('resume').focus()
    })
    button('resume').addEventListener('click', () => {
      this.#resume()
      button('pause').focus()
    })
    button('cancel').addEventListener('click', () => void this.#cancel())
    button('another').addEventListener('click', () => this.#reset())
    button('renew-use').addEventListener('click', () => this.#renew())
    input('renew-token').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return
      event.preventDefault()
      this.#renew()
    })
    this.#setUpDrop()
    addEventListener('beforeunload', (event) => {
      this.#save(true)
      if (this.#isBusy) event.preventDefault()
    })
    // Whoever comes back online need not wait for the next try.
    addEventListener('online', () => {
      if (this.#upload?.state === 'waiting') this.#resume()
    })
  }

  get #isBusy() {
    const state = this.#upload?.state
    return state === 'running' || state === 'waiting' || state === 'needsToken'
  }

  /**
   * @param {Access} access
   * @param {import('./api.js').PageApi | undefined} api
   */
  enter(access, api) {
    this.#access = access
    this.#api = api
    this.#token =
      access.kind === 'upload' ? { token: access.upload.token, untilMs: access.upload.expiresMs } : undefined
    element('target-field').hidden = access.kind === 'upload'
    element('upload').hidden = false
    this.#reset()
  }

  leave() {
    this.#upload?.pause()
    this.#save(true)
    this.#access = undefined
    this.#api = undefined
    this.#token = undefined
    this.#volumes = []
    this.#reset()
    element('upload').hidden = true
  }

  /** @param {string} name the user has chosen it in the list */
  choose(name) {
    if (this.#upload !== undefined) return
    const target = select('target')
    target.value = name
    this.#retarget()
    element('upload-title').focus()
    element('upload-title').scrollIntoView({ block: 'start' })
  }

  /** @param {DataVolume[]} volumes as they are now */
  showVolumes(volumes) {
    this.#volumes = volumes
    this.#fillTargets()
    const mine = volumes.find(({ name }) => name === this.#current?.pvcName)
    const state = this.#upload?.state
    if (mine === undefined || state === undefined) return
    if (state === 'processing' && mine.phase === 'Succeeded') this.#upload?.finish()
    if (state === 'processing' && mine.phase === 'Failed') {
      const why = mine.conditions.find(({ type }) => type === 'Running')?.message
      this.#upload?.fail(`The volume could not be finished. ${why ?? ''}`.trim())
    }
  }

  #fillTargets() {
    const target = select('target')
    const names = this.#volumes.filter(takesUpload).map(({ name }) => name)
    // While it is uploaded into, a volume may pass through other phases.
    const mine = this.#current?.pvcName
    if (mine !== undefined && !names.includes(mine)) names.push(mine)
    const before = target.value
    const shown = [...target.options].map(({ value }) => value).filter((value) => value !== '')
    if (shown.join('\n') !== names.join('\n') || target.options.length === 0) {
      target.replaceChildren(new Option(names.length === 0 ? 'No volume is ready' : 'Choose a volume', ''))
      for (const name of names) target.append(new Option(name, name))
      target.value = names.includes(before) ? before : names.length === 1 ? (names[0] ?? '') : ''
      this.#retarget()
    }
    const hint =
      names.length > 0
        ? ''
        : 'An upload goes into a DataVolume with source “upload” that is in phase UploadReady; it appears here by itself.'
    if (element('target-hint').textContent !== hint) element('target-hint').textContent = hint
  }

  /** @returns {{ namespace: string, pvcName: string } | undefined} */
  get #target() {
    const access = this.#access
    if (access === undefined) return undefined
    if (access.kind === 'upload') return { namespace: access.upload.namespace, pvcName: access.upload.pvcName }
    const pvcName = select('target').value
    return pvcName === '' ? undefined : { namespace: access.namespace, pvcName }
  }

  #retarget() {
    if (this.#upload !== undefined) return
    notice('upload-error', '')
    this.#showUnfinished()
    this.#showStart()
  }

  #showUnfinished() {
    const target = this.#target
    const [last] = target === undefined || this.#file !== undefined ? [] : this.#unfinished.of(target)
    notice(
      'unfinished',
      last === undefined
        ? ''
        : `An upload of “${last.name}” (${formatBytes(last.size)}) stopped at ${percentOf(last.doneBytes, last.size)}. ` +
            'Choose the same file again to go on there.',
    )
  }

  #showStart() {
    const target = this.#target
    const file = this.#file
    const known = target && file && this.#unfinished.find({ file, ...target })
    const start = button('start')
    start.disabled = target === undefined || file === undefined
    start.textContent = known === undefined ? 'Start upload' : `Go on at ${percentOf(known.doneBytes, known.size)}`
  }

  /** @param {File | undefined} file */
  #choose(file) {
    notice('upload-error', '')
    if (file !== undefined && file.size === 0) {
      notice('upload-error', `“${file.name}” is empty, or a folder.\nChoose a disk image.`)
      file = undefined
    }
    this.#file = file
    const label = element('file-label')
    if (file === undefined) {
      label.replaceChildren(...this.#invitation)
    } else {
      const name = document.createElement('strong')
      name.textContent = file.name
      label.replaceChildren(name, ` ${formatBytes(file.size)}`)
      this.#announce(`${file.name}, ${formatBytes(file.size)}, is chosen`)
    }
    this.#showUnfinished()
    this.#showStart()
  }

  #start() {
    const target = this.#target
    const file = this.#file
    if (target === undefined || file === undefined || this.#upload !== undefined) return
    notice('upload-error', '')
    notice('unfinished', '')
    const known = this.#unfinished.find({ file, ...target })
    this.#current = { file, ...target, address: known?.address }
    this.#doneBytes = 0
    this.#announcedTenth = 0
    this.#meter.reset()
    this.#upload = new TusUpload({
      file,
      fileName: file.name,
      endpoint,
      isTokenScarce: this.#api === undefined,
      getToken: (isRefused) => this.#getToken(isRefused),
      onAddress: (address) => this.#onAddress(address),
      onProgress: (doneBytes) => this.#onProgress(doneBytes),
      onState: (state, text) => this.#onState(state, text),
      ...(known === undefined ? {} : { address: known.address }),
    })
    element('transfer-name').textContent = file.name
    element('transfer').hidden = false
    select('target').disabled = true
    input('file').disabled = true
    void this.#upload.run()
    button('pause').focus()
  }

  #resume() {
    this.#meter.reset()
    void this.#upload?.run()
  }

  async #cancel() {
    const upload = this.#upload
    const current = this.#current
    if (upload === undefined || current === undefined) return
    if (this.#doneBytes > 0 && !confirm(`Throw away what was uploaded of “${current.file.name}”?`)) return
    this.#unfinished.forget(current)
    this.#reset()
    element('upload-title').focus()
    this.#announce('Upload cancelled')
    await upload.cancel()
  }

  /** Back to the choice of a file. */
  #reset() {
    this.#upload = undefined
    this.#current = undefined
    this.#file = undefined
    input('file').value = ''
    input('file').disabled = false
    select('target').disabled = false
    element('transfer').hidden = true
    element('renew').hidden = true
    this.#showButtons('idle')
    this.#choose(undefined)
    this.#fillTargets()
  }

  /**
   * @param {boolean} isRefused
   * @returns {Promise<string | undefined>}
   */
  async #getToken(isRefused) {
    if (isRefused) this.#token = undefined
    const api = this.#api
    const marginMs = api === undefined ? 0 : tokenMarginMs
    if (this.#token !== undefined && Date.now() < this.#token.untilMs - marginMs) return this.#token.token
    if (api === undefined) return undefined
    const { token } = await api.uploadToken(this.#current?.pvcName ?? '')
    // By how long it lives, and not by when it ends: the clock of this machine may be wrong.
    const untilMs = Date.now() + (readUploadToken(token)?.lifeMs ?? usualLifeMs)
    this.#token = { token, untilMs }
    return token
  }

  #renew() {
    const field = input('renew-token')
    const token = readUploadToken(field.value.replaceAll(/\s/g, ''))
    const current = this.#current
    const error = element('renew-error')
    error.textContent = ''
    if (token === undefined) error.textContent = 'That is not an upload token.'
    else if (token.expiresMs <= Date.now()) error.textContent = 'This token has expired too.'
    else if (token.pvcName !== current?.pvcName || token.namespace !== current.namespace) {
      error.textContent = `This token is for ${token.namespace}/${token.pvcName}.`
    }
    if (error.textContent !== '' || token === undefined) {
      field.focus()
      return
    }
    field.value = ''
    this.#token = { token: token.token, untilMs: token.expiresMs }
    this.#resume()
    button('pause').focus()
  }

  /** @param {string | undefined} address */
  #onAddress(address) {
    if (this.#current === undefined) return
    this.#current.address = address
    if (address === undefined) this.#unfinished.forget(this.#current)
    else this.#save(true)
  }

  /** @param {number} doneBytes */
  #onProgress(doneBytes) {
    this.#doneBytes = doneBytes
    this.#meter.add(doneBytes)
    this.#save(false)
    this.#draw(false)
  }

  /** @param {boolean} isUrgent */
  #save(isUrgent) {
    const current = this.#current
    const state = this.#upload?.state
    if (current?.address === undefined || state === 'finished' || state === 'failed' || state === 'cancelled') return
    if (!isUrgent && performance.now() - this.#savedMs < saveMs) return
    this.#savedMs = performance.now()
    this.#unfinished.save({ ...current, address: current.address, doneBytes: this.#doneBytes })
  }

  /**
   * @param {UploadState} state
   * @param {string} text
   */
  #onState(state, text) {
    if (this.#current === undefined) return
    const [word = '', kind = ''] = stateWords[state]
    const badge = element('transfer-state')
    const isNew = badge.textContent !== word
    badge.textContent = word
    badge.className = `badge ${kind}`.trim()
    element('transfer-text').textContent = state === 'failed' ? '' : text
    if (state !== 'running') this.#meter.reset()
    this.#draw(true)
    this.#showButtons(state)
    element('renew').hidden = state !== 'needsToken'
    if (state === 'needsToken') input('renew-token').focus()
    if (state === 'paused') this.#save(true)
    if (state === 'finished' || state === 'failed') {
      this.#unfinished.forget(this.#current)
      button('another').focus()
    }
    if (state === 'failed') notice('upload-error', text)
    if (isNew && state !== 'failed' && word !== '') this.#announce(`${word}. ${text}`)
  }

  /** @param {UploadState} state */
  #showButtons(state) {
    const shown = {
      start: state === 'idle' || state === 'cancelled',
      pause: state === 'running' || state === 'waiting',
      resume: state === 'paused',
      cancel: state === 'running' || state === 'waiting' || state === 'paused' || state === 'needsToken',
      another: state === 'finished' || state === 'failed',
    }
    for (const [id, isShown] of Object.entries(shown)) element(id).hidden = !isShown
    document.body.classList.toggle('uploading', !shown.start)
    element('another').textContent = state === 'failed' ? 'Try another file' : 'Upload another file'
  }

  /** @param {boolean} isUrgent */
  #draw(isUrgent) {
    const current = this.#current
    if (current === undefined) return
    const { size } = current.file
    const done = this.#doneBytes
    const tenth = Math.floor((done / size) * 10)
    if (tenth > this.#announcedTenth && tenth < 10) {
      this.#announcedTenth = tenth
      this.#announce(`${tenth * 10} percent`)
    }
    if (!isUrgent && performance.now() - this.#drawnMs < drawMs) return
    this.#drawnMs = performance.now()
    const bar = progress('transfer-bar')
    const rate = this.#meter.bytesPerSecond
    bar.value = Math.floor((done / size) * 1000)
    element('fact-done').textContent = `${percentOf(done, size)}, ${formatBytes(done)} of ${formatBytes(size)}`
    element('fact-rate').textContent = rate === undefined ? '–' : `${formatBytes(rate)}/s`
    element('fact-left').textContent =
      rate === undefined || rate < 1 || done >= size ? '–' : formatDuration((size - done) / rate)
    document.title = this.#isBusy ? `${percentOf(done, size)} – ${current.file.name}` : 'Disk uploads'
  }

  #setUpDrop() {
    const drop = element('drop')
    /** @param {DragEvent} event */
    const hasFile = (event) => event.dataTransfer?.types.includes('Files') === true
    // Anywhere on the page: a file that misses the field must not replace the page.
    addEventListener('dragover', (event) => {
      if (!hasFile(event)) return
      event.preventDefault()
      if (event.dataTransfer) event.dataTransfer.dropEffect = this.#mayChoose ? 'copy' : 'none'
      drop.classList.toggle('over', this.#mayChoose)
    })
    addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) drop.classList.remove('over')
    })
    addEventListener('drop', (event) => {
      if (!hasFile(event)) return
      event.preventDefault()
      drop.classList.remove('over')
      if (!this.#mayChoose) return
      this.#choose(event.dataTransfer?.files[0])
      const start = button('start')
      if (!start.disabled) start.focus()
    })
  }

  get #mayChoose() {
    return this.#access !== undefined && this.#upload === undefined
  }
}

/**
 * @param {number} done
 * @param {number} total
 */
function percentOf(done, total) {
  return `${(Math.floor((done / total) * 1000) / 10).toFixed(1)} %`
}
