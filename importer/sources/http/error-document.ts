/**
 * The XML document with which S3 and its likes, GCS among them, say why they refuse:
 * `<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>…</Error>`. It comes from a stranger
 * and may be cut short, so only a few short elements are picked out of it, by name.
 */
export interface ErrorDocument {
  /** `NoSuchKey`, `AccessDenied`, … */
  readonly code: string
  readonly message: string
  /** Google says here who was refused what. */
  readonly details?: string
  /** Where the bucket lies, in answers to requests that were signed for another region. */
  readonly region?: string
}

const longestTextChars = 400

/** Undefined if it is no such document. */
export function parseErrorDocument(body: Buffer): ErrorDocument | undefined {
  const text = body.toString('utf8')
  const code = element(text, 'Code')
  if (!text.includes('<Error') || code === undefined || !/^[A-Za-z0-9.]{1,100}$/.test(code)) return undefined
  const details = element(text, 'Details')
  const region = element(text, 'Region')
  return {
    code,
    message: element(text, 'Message') ?? '',
    ...(details === undefined ? {} : { details }),
    ...(region === undefined ? {} : { region }),
  }
}

function element(text: string, name: string): string | undefined {
  const content = new RegExp(`<${name}>([^<]{1,${4 * longestTextChars}})</${name}>`).exec(text)?.[1]
  return content === undefined ? undefined : plain(content)
}

const entities: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  '#34': '"',
  '#39': "'",
}

/** Without escapes and without what could play tricks with a terminal or a log. */
function plain(text: string): string {
  return text
    .replace(/&(#?\w{1,6});/g, (whole, name: string) => entities[name] ?? whole)
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, longestTextChars)
}
