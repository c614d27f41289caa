// @ts-check
/** Elements of index.html by their id. */

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page lacks #${id}`)
  return found
}

/**
 * @param {string} id
 * @returns {HTMLInputElement}
 */
export function input(id) {
  return /** @type {HTMLInputElement} */ (element(id))
}

/**
 * @param {string} id
 * @returns {HTMLButtonElement}
 */
export function button(id) {
  return /** @type {HTMLButtonElement} */ (element(id))
}

/**
 * Shows a text in a notice, or hides the notice if there is none.
 * @param {string} id
 * @param {string} text
 */
export function notice(id, text) {
  const target = element(id)
  target.hidden = text === ''
  if (target.textContent !== text) target.textContent = text
}

/**
 * @param {string} id
 * @returns {HTMLSelectElement}
 */
export function select(id) {
  return /** @type {HTMLSelectElement} */ (element(id))
}

/**
 * @param {string} id
 * @returns {HTMLProgressElement}
 */
export function progress(id) {
  return /** @type {HTMLProgressElement} */ (element(id))
}
