/** kubectl against one cluster, for the scripts and for cluster tests. */
import { join } from 'node:path'
import { execa } from 'execa'
import { waitFor } from './wait-for.ts'

export interface KubectlOptions {
  /** The executable. */
  readonly command: string
  readonly kubeconfig: string
  /** The kubeconfig's current one unless told. */
  readonly context?: string | undefined
}

/** A Kubernetes object as JSON; tests look into it freely. */
// oxlint-disable-next-line typescript/no-explicit-any -- tests assert on arbitrary kinds
export type AnyObject = any

export class Kubectl {
  readonly #options: KubectlOptions

  constructor(options: KubectlOptions) {
    this.#options = options
  }

  get kubeconfig(): string {
    return this.#options.kubeconfig
  }

  /** Standard output of the command; an error with its standard error unless it exits 0. */
  async run(args: readonly string[], input?: string): Promise<string> {
    const { command, kubeconfig, context } = this.#options
    const flags = [`--kubeconfig=${kubeconfig}`, ...(context === undefined ? [] : [`--context=${context}`])]
    const { stdout } = await execa(command, [...flags, ...args], input === undefined ? {} : { input })
    return stdout
  }

  /** Server-side apply of objects or YAML text. */
  async apply(what: string | object | readonly object[]): Promise<void> {
    await this.run(['apply', '--server-side', '--force-conflicts', '-f', '-'], asManifest(what))
  }

  /**
   * Waits until definitions are served. kubectl gives up at once on one so new that it has no conditions at all, so it is
   * asked again.
   */
  async established(definitions: readonly string[]): Promise<void> {
    const names = definitions.map((name) => `crd/${name}`)
    await waitFor({ what: `the definitions ${definitions.join(', ')}`, timeoutMs: 60_000 }, async () => {
      await this.run(['wait', '--for=condition=Established', '--timeout=20s', ...names])
      return true
    })
  }

  async create(what: string | object | readonly object[]): Promise<void> {
    await this.run(['create', '-f', '-'], asManifest(what))
  }

  /** One object; `undefined` if there is none. */
  async get(kind: string, name: string, namespace?: string): Promise<AnyObject> {
    const text = await this.run(['get', kind, name, '-o', 'json', '--ignore-not-found', ...inNamespace(namespace)])
    return text === '' ? undefined : JSON.parse(text)
  }

  async list(kind: string, namespace?: string): Promise<AnyObject[]> {
    const where = namespace === undefined ? ['--all-namespaces'] : inNamespace(namespace)
    return (JSON.parse(await this.run(['get', kind, '-o', 'json', ...where])) as { items: AnyObject[] }).items
  }

  /** Deletes and, unless told otherwise, waits until it is gone. */
  async delete(kind: string, name: string, namespace?: string, wait = true): Promise<void> {
    await this.run(['delete', kind, name, '--ignore-not-found', `--wait=${wait}`, ...inNamespace(namespace)])
  }

  /** Asks for the object until `ready` says yes; the last state seen is in the error. */
  async waitUntil(
    {
      kind,
      name,
      namespace,
      timeoutMs = 120_000,
    }: { kind: string; name: string; namespace?: string; timeoutMs?: number },
    ready: (object: AnyObject) => boolean,
  ): Promise<AnyObject> {
    let last: AnyObject
    try {
      return await waitFor({ what: `${kind}/${name}`, timeoutMs }, async () => {
        last = await this.get(kind, name, namespace)
        return last !== undefined && ready(last) ? last : undefined
      })
    } catch (error) {
      throw new Error(`${(error as Error).message}; last status: ${JSON.stringify(last?.status)}`, { cause: error })
    }
  }
}

/** The kubectl in that directory. */
export function kubectlIn(dir: string, kubeconfig: string, context?: string): Kubectl {
  return new Kubectl({ command: join(dir, 'kubectl'), kubeconfig, context })
}

function inNamespace(namespace: string | undefined): string[] {
  return namespace === undefined ? [] : ['-n', namespace]
}

function asManifest(what: string | object | readonly object[]): string {
  if (typeof what === 'string') return what
  return JSON.stringify(Array.isArray(what) ? { apiVersion: 'v1', kind: 'List', items: what } : what)
}
