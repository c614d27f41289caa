// @ts-check
/**
 * Who the user is: a Kubernetes token with a namespace, or an upload token alone. Kept in memory; in the tab's session
 * storage only when the user wants it.
 */
import { button, element, input, notice } from './elements.js'
import { readUploadToken } from './upload-token.js'

/**
 * @typedef {{ kind: 'cluster', namespace: string, token: string }} ClusterAccess
 * @typedef {{ kind: 'upload', upload: import('./upload-token.js').UploadToken }} UploadAccess
 * @typedef {ClusterAccess | UploadAccess} Access
 */

const storageKey = 'cdi-access'

/**
 * Wires the form.
 * @param {object} options
 * @param {(access: Access) => Promise<void>} options.onEnter throws what is wrong with it
 * @param {() => void} options.onLeave
 * @param {(error: unknown) => string} options.explain
 */
export function setUpAccess({ onEnter, onLeave, explain }) {
  const form = /** @type {HTMLFormElement} */ (element('access-form'))
  const kinds = ['kind-cluster', 'kind-upload'].map(input)

  const kind = () => (kinds.find(({ checked }) => checked)?.value === 'upload' ? 'upload' : 'cluster')
  const showFields = () => {
    const isUpload = kind() === 'upload'
    element('cluster-fields').hidden = isUpload
    element('upload-fields').hidden = !isUpload
    input('namespace').required = !isUpload
    input('cluster-token').required = !isUpload
    input('upload-token').required = isUpload
    button('access-submit').textContent = isUpload ? 'Go on' : 'Sign in'
    notice('access-error', '')
  }
  for (const each of kinds) each.addEventListener('change', showFields)
  // Browsers restore forms after a reload.
  showFields()

  for (const show of form.querySelectorAll('button[data-shows]')) setUpShow(/** @type {HTMLButtonElement} */ (show))

  /** @param {Access} access */
  const enter = async (access) => {
    const submit = button('access-submit')
    submit.disabled = true
    notice('access-error', '')
    try {
      await onEnter(access)
    } catch (error) {
      notice('access-error', explain(error))
      forget()
      return
    } finally {
      submit.disabled = false
    }
    for (const id of ['cluster-token', 'upload-token']) input(id).value = ''
    form.hidden = true
    button('access-leave').hidden = false
    element('access-title').textContent = access.kind === 'cluster' ? 'Signed in' : 'Upload token'
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault()
    let access
    try {
      access = readForm(kind())
    } catch (error) {
      notice('access-error', explain(error))
      return
    }
    if (access.kind === 'cluster' && input('remember').checked) remember(access)
    else forget()
    void enter(access)
  })

  button('access-leave').addEventListener('click', () => {
    forget()
    onLeave()
    form.hidden = false
    button('access-leave').hidden = true
    element('access-title').textContent = 'Sign in'
    element('access-summary').hidden = true
    input(kind() === 'upload' ? 'upload-token' : 'cluster-token').focus()
  })

  const remembered = recall()
  if (remembered !== undefined) {
    input('namespace').value = remembered.namespace
    input('remember').checked = true
    void enter(remembered)
  }
}

/**
 * @param {'cluster' | 'upload'} kind
 * @returns {Access}
 */
function readForm(kind) {
  if (kind === 'cluster') {
    // Pasted with the header's name, or broken by the line ends of a terminal.
    const token = input('cluster-token')
      .value.replace(/^\s*(authorization:\s*)?bearer\s+/i, '')
      .replaceAll(/\s/g, '')
    return { kind, namespace: input('namespace').value.trim(), token }
  }
  const upload = readUploadToken(input('upload-token').value.replaceAll(/\s/g, ''))
  if (upload === undefined) {
    throw new Error(
      'That is not an upload token.\nTake the value of status.token from the answer to an UploadTokenRequest, all of it.',
    )
  }
  if (upload.expiresMs <= Date.now())
    throw new Error('This token has expired.\nAsk for a new one; they live five minutes.')
  return { kind, upload }
}

/** @param {HTMLButtonElement} show */
function setUpShow(show) {
  const field = input(show.dataset['shows'] ?? '')
  show.setAttribute('aria-controls', field.id)
  show.addEventListener('click', () => {
    const isShown = field.type === 'text'
    field.type = isShown ? 'password' : 'text'
    show.setAttribute('aria-pressed', String(!isShown))
  })
}

/** @param {ClusterAccess} access */
function remember(access) {
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(access))
  } catch {
    // Forbidden: the token lives as long as the page.
  }
}

function forget() {
  try {
    sessionStorage.removeItem(storageKey)
  } catch {
    // Nothing was kept.
  }
}

/** @returns {ClusterAccess | undefined} */
function recall() {
  try {
    const { kind, namespace, token } = JSON.parse(sessionStorage.getItem(storageKey) ?? '{}')
    return kind === 'cluster' && typeof namespace === 'string' && typeof token === 'string'
      ? { kind, namespace, token }
      : undefined
  } catch {
    return undefined
  }
}
