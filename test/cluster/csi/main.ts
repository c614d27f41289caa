/**
 * The driver as a process beside the kubelet:
 * `node main.ts --dir DIR --node NAME --socket PATH --registration PATH`. Ends on SIGTERM; volumes stay as they are.
 */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { createLog } from '../../../src/log.ts'
import { controllerHandlers } from './controller.ts'
import { Driver, driverName } from './driver.ts'
import { identityHandlers } from './identity.ts'
import { nodeHandlers } from './node.ts'
import { serveRpc } from './rpc.ts'

const { values } = parseArgs({
  options: {
    dir: { type: 'string' },
    node: { type: 'string' },
    socket: { type: 'string' },
    registration: { type: 'string' },
    'capacity-gib': { type: 'string', default: '512' },
  },
})
const { dir, node, socket, registration } = values
if (dir === undefined || node === undefined || socket === undefined || registration === undefined) {
  process.stderr.write('usage: main.ts --dir DIR --node NAME --socket PATH --registration PATH [--capacity-gib N]\n')
  process.exit(2)
}

const log = createLog({ name: 'csi', verbosity: 3 })
const driver = new Driver({ dir, nodeName: node, capacityBytes: Number(values['capacity-gib']) * 1024 ** 3 })
await mkdir(dirname(registration), { recursive: true })
const csi = await serveRpc({
  socket,
  services: [
    { name: 'csi.v1.Identity', proto: 'csi.proto', handlers: identityHandlers },
    { name: 'csi.v1.Controller', proto: 'csi.proto', handlers: controllerHandlers(driver) },
    { name: 'csi.v1.Node', proto: 'csi.proto', handlers: nodeHandlers(driver) },
  ],
  log,
})
// Second, because the kubelet calls the driver as soon as it sees this socket.
const registered = await serveRpc({
  socket: registration,
  services: [
    {
      name: 'pluginregistration.Registration',
      proto: 'registration.proto',
      handlers: {
        GetInfo: async () => ({ type: 'CSIPlugin', name: driverName, endpoint: socket, supported_versions: ['1.0.0'] }),
        NotifyRegistrationStatus: async ({
          plugin_registered: ok,
          error,
        }: {
          plugin_registered: boolean
          error: string
        }) => {
          if (ok) log.info('registered with the kubelet')
          else log.error({ error }, 'the kubelet refused the registration')
          return {}
        },
      },
    },
  ],
  log,
})
log.info({ dir, node, socket }, 'serving')

const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
await stopped
await registered[Symbol.asyncDispose]()
await csi[Symbol.asyncDispose]()
process.exit(0)
