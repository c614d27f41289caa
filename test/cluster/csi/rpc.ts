/** gRPC on unix sockets: services from .proto files, handlers as async functions, errors with a status code. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  status,
  type GrpcObject,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Log } from '../../../src/log.ts'

/** An answer other than OK; every other error is answered as INTERNAL. */
export class RpcError extends Error {
  readonly code: status

  constructor(code: keyof typeof status, message: string) {
    super(message)
    this.code = status[code]
  }
}

// oxlint-disable-next-line typescript/no-explicit-any -- each handler names the request type of its own method
export type Handlers = Readonly<Record<string, (request: any) => Promise<object>>>

export interface RpcService {
  /** `csi.v1.Node`. */
  readonly name: string
  readonly proto: 'csi.proto' | 'registration.proto'
  readonly handlers: Handlers
}

export interface RpcServerOptions {
  readonly socket: string
  readonly services: readonly RpcService[]
  readonly log: Log
}

/** Serves until disposed; a socket file left by an earlier process is replaced. */
export async function serveRpc({ socket, services, log }: RpcServerOptions): Promise<AsyncDisposable> {
  const server = new Server()
  for (const { name, proto, handlers } of services) {
    server.addService(serviceDefinition(proto, name), implementation(handlers, log))
  }
  await rm(socket, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(error)
      else resolve()
    })
  })
  return {
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
      await rm(socket, { force: true })
    },
  }
}

/** The definition of a service, for servers and (in tests) for clients. */
export function serviceDefinition(proto: RpcService['proto'], name: string): ServiceClientConstructor['service'] {
  return serviceClient(proto, name).service
}

/** The client class of a service. */
export function serviceClient(proto: RpcService['proto'], name: string): ServiceClientConstructor {
  const file = join(import.meta.dirname, 'proto', proto)
  const loaded = loadSync(file, { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true })
  let found: GrpcObject | GrpcObject[string] = loadPackageDefinition(loaded)
  for (const part of name.split('.')) found = (found as GrpcObject)[part] as GrpcObject[string]
  return found as ServiceClientConstructor
}

function implementation(handlers: Handlers, log: Log): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(handlers).map(([method, handle]) => [
      method,
      (call: ServerUnaryCall<object, object>, answer: sendUnaryData<object>): void => {
        void (async () => {
          const startedMs = performance.now()
          const facts = (): object => ({ method, request: call.request, ms: Math.round(performance.now() - startedMs) })
          try {
            const response = await handle(call.request)
            log.debug(facts(), 'answered')
            answer(null, response)
          } catch (error) {
            log.warn({ ...facts(), err: error }, 'refused')
            const code = error instanceof RpcError ? error.code : status.INTERNAL
            answer({ code, details: (error as Error).message })
          }
        })()
      },
    ]),
  )
}
