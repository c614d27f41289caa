/**
 * Runs in the browser, in front of the page's own scripts: what tests look at and do there that a tab's user would not.
 * Plain JavaScript, since the tests themselves know no document.
 */

/** A field whose file can be dropped later; browsers let scripts make no file that lies on disk. */
function addField() {
  const field = document.createElement('input')
  field.type = 'file'
  field.id = 'from-disk'
  document.body.append(field)
}

function dropFromField() {
  const field = document.getElementById('from-disk')
  const transfer = new DataTransfer()
  transfer.items.add(field.files[0])
  field.remove()
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true }
  document.body.dispatchEvent(new DragEvent('dragover', options))
  document.body.dispatchEvent(new DragEvent('drop', options))
}

function donePercent() {
  return Number.parseFloat(document.getElementById('fact-done')?.textContent ?? '0')
}

/** The name that is read out for what has the focus. */
function focusedName() {
  const focused = document.activeElement
  const name = focused?.labels?.[0]?.textContent ?? focused?.getAttribute('aria-label') ?? focused?.textContent ?? ''
  return name.trim().replaceAll(/\s+/g, ' ')
}

/** What moves by itself. */
function movingParts() {
  return [...document.querySelectorAll('*')]
    .map((each) => getComputedStyle(each))
    .filter(({ transitionDuration, animationName }) => transitionDuration !== '0s' || animationName !== 'none')
    .map(({ transitionDuration }) => transitionDuration)
}

/** What would stand in somebody's way, as texts. */
function findBarriers() {
  /** @type {string[]} */
  const found = []
  const isShown = (each) => each.checkVisibility({ opacityProperty: false, visibilityProperty: true })
  const shown = [...document.querySelectorAll('body *')].filter(isShown)

  for (const each of document.querySelectorAll('input, select, button, progress')) {
    const labels = [...(each.labels ?? [])].map((label) => label.textContent)
    const by = (each.getAttribute('aria-labelledby') ?? '')
      .split(' ')
      .map((id) => document.getElementById(id)?.textContent)
    const own = each.tagName === 'BUTTON' ? each.textContent : ''
    const name = [...labels, ...by, each.getAttribute('aria-label'), own].join('').trim()
    if (name === '' && isShown(each)) found.push(`no name: ${each.outerHTML.slice(0, 100)}`)
    for (const id of (each.getAttribute('aria-describedby') ?? '').split(' ').filter(Boolean)) {
      if (document.getElementById(id) === null) found.push(`describedby ${id} is not there`)
    }
  }
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id)
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) found.push(`id ${id} twice`)
  for (const each of document.querySelectorAll('img'))
    if (each.getAttribute('alt') === null) found.push('image without alt')
  if (document.documentElement.lang === '') found.push('no language')
  if (document.querySelectorAll('main').length !== 1) found.push('not one main')
  let level = 0
  for (const each of shown.filter(({ tagName }) => /^H[1-6]$/.test(tagName))) {
    const own = Number(each.tagName.slice(1))
    if (own > level + 1) found.push(`heading of level ${own} after ${level}`)
    level = own
  }
  for (const each of document.querySelectorAll('[tabindex]')) {
    if (Number(each.getAttribute('tabindex')) > 0) found.push('a tab order of its own')
  }

  const parse = (text) => {
    const [red = 0, green = 0, blue = 0, alpha = 1] = (text.match(/[\d.]+/g) ?? []).map(Number)
    return [red, green, blue, alpha]
  }
  const groundOf = (start) => {
    for (let each = start; each !== null; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor)
      if (colour[3] === 1) return colour
      if (colour[3] > 0) found.push(`a ground that shines through: ${each.className}`)
    }
    return [255, 255, 255, 1]
  }
  const luminance = ([red, green, blue]) => {
    const [r = 0, g = 0, b = 0] = [red, green, blue].map((part) => {
      const share = part / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (one, other) => {
    const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a)
    return (light + 0.05) / (dark + 0.05)
  }
  for (const each of shown) {
    const hasText = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim() !== '')
    const isField = each.matches('input:not([type=radio], [type=checkbox], [type=file]), select')
    const isOff = each.matches(':disabled, option')
    if ((!hasText && !isField) || isOff) continue
    const style = getComputedStyle(each)
    const ratio = contrast(parse(style.color), groundOf(each))
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${each.textContent.trim().slice(0, 40)}`)
    // The edge of a field has to be seen, too (WCAG 1.4.11).
    if (!isField) continue
    const edge = contrast(parse(style.borderTopColor), groundOf(each.parentElement ?? each))
    if (edge < 3) found.push(`edge ${edge.toFixed(2)}: ${each.id}`)
  }
  return [...new Set(found)]
}

globalThis.inBrowser = { addField, dropFromField, donePercent, focusedName, movingParts, findBarriers }
