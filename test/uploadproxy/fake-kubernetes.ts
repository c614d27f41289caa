/**
 * As much of a Kubernetes API as the proxy asks, over real TLS: objects by their path, the list and watch of CDIConfig, and
 * tokens that some users have. For what depends on who asks, and for a proxy that runs as a process of its own.
 */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CertificatePair } from '../../src/certs/authority.ts'
import { closable } from '../../src/closable-server.ts'

export interface AskedOfKubernetes {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly body: string
}

/** Answers a request by itself; undefined leaves it to the objects. */
export type Override = (asked: AskedOfKubernetes, response: ServerResponse) => boolean

const configPath = '/apis/cdi.kubevirt.io/v1beta1/cdiconfigs'

export class FakeKubernetes implements AsyncDisposable {
  /** By path, e.g. `/api/v1/namespaces/team/persistentvolumeclaims/disk`. */
  readonly objects = new Map<string, object>()
  readonly requests: AskedOfKubernetes[] = []
  override: Override = () => false
  readonly #server: Server
  readonly #close: () => Promise<void>
  readonly #watchers = new Set<ServerResponse>()
  #config: object | undefined
  #version = 1

  private constructor(server: Server) {
    this.#server = server
    this.#close = closable(server)
    server.on('request', (request: IncomingMessage, response: ServerResponse) => void this.#answer(request, response))
  }

  static async start({ certPem, keyPem }: CertificatePair): Promise<FakeKubernetes> {
    const server = createServer({ cert: certPem, key: keyPem })
    const fake = new FakeKubernetes(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return fake
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`
  }

  /** Writes the object `config`, which the watchers are told. */
  putConfig(spec: object): void {
    const isNew = this.#config === undefined
    this.#config = {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'CDIConfig',
      metadata: { name: 'config', uid: 'config', resourceVersion: String(++this.#version) },
      spec,
    }
    const line = `${JSON.stringify({ type: isNew ? 'ADDED' : 'MODIFIED', object: this.#config })}\n`
    for (const watcher of this.#watchers) watcher.write(line)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const { method = '', url = '', headers } = request
    const asked = { method, url, authorization: headers.authorization, body }
    this.requests.push(asked)
    if (this.override(asked, response)) return
    const { pathname, searchParams } = new URL(url, this.url)
    const object = this.objects.get(pathname)
    if (pathname === configPath && searchParams.get('watch') === 'true') {
      response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
      this.#watchers.add(response)
      response.on('close', () => this.#watchers.delete(response))
    } else if (pathname === configPath) {
      const items = this.#config === undefined ? [] : [this.#config]
      sendJson(response, 200, { kind: 'List', metadata: { resourceVersion: String(this.#version) }, items })
    } else if (object === undefined) {
      sendJson(response, 404, { kind: 'Status', code: 404, reason: 'NotFound', message: `${pathname} not found` })
    } else {
      sendJson(response, 200, object)
    }
  }
}

export function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
