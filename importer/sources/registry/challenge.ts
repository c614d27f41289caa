/** Challenges of the header `WWW-Authenticate` (RFC 9110 §11.6.1). Written by strangers, so bounded and forgiving. Pure. */

export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string
  /** Names in lower case; the first of a name counts. */
  readonly parameters: ReadonlyMap<string, string>
}

/** What is looked at of a header. Honest ones have some hundred characters. */
const longestHeaderChars = 8192
const mostChallenges = 16
const mostParameters = 32

/** The challenges in a header, up to where it stops making sense. */
export function parseChallenges(header: string): Challenge[] {
  return new ChallengeReader(header.slice(0, longestHeaderChars)).read()
}

/** Both in one list, told apart only by what follows: `Basic realm="a", Bearer realm="b",service="c"`. */
class ChallengeReader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): Challenge[] {
    const challenges: Challenge[] = []
    while (challenges.length < mostChallenges) {
      this.#take(/[\s,]*/y)
      const scheme = this.#take(/[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y)
      if (scheme === undefined || scheme === '') break
      const gap = this.#take(/[ \t]+/y)
      challenges.push({ scheme: scheme.toLowerCase(), parameters: gap === undefined ? new Map() : this.#parameters() })
    }
    return challenges
  }

  #parameters(): Map<string, string> {
    const parameters = new Map<string, string>()
    // A single credential (`Negotiate YIIB…=`) instead of parameters.
    if (this.#take(/[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)/y) !== undefined) return parameters
    for (let count = 0; count < mostParameters; count += 1) {
      const before = this.#at
      this.#take(/[\s,]*/y)
      const name = this.#take(/[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?=[ \t]*=)/y)?.toLowerCase()
      if (name === undefined) {
        this.#at = before
        break
      }
      this.#take(/[ \t]*=[ \t]*/y)
      const value = this.#value()
      if (value === undefined) break
      if (!parameters.has(name)) parameters.set(name, value)
    }
    return parameters
  }

  #value(): string | undefined {
    const quoted = this.#take(/"(?:[^"\\]|\\.)*"/sy)
    if (quoted !== undefined) return quoted.slice(1, -1).replace(/\\(.)/gs, '$1')
    // Slashes and the like belong between quotes, but realms without them are seen.
    return this.#take(/[^\s",]+/y)
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found !== undefined) this.#at = pattern.lastIndex
    return found
  }
}
