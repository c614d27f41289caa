import { driverName, driverVersion } from './driver.ts'
import type { Handlers } from './rpc.ts'

/** csi.v1.Identity. */
export const identityHandlers: Handlers = {
  GetPluginInfo: async () => ({ name: driverName, vendor_version: driverVersion }),
  GetPluginCapabilities: async () => ({
    capabilities: [
      { service: { type: 'CONTROLLER_SERVICE' } },
      { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } },
      { volume_expansion: { type: 'ONLINE' } },
    ],
  }),
  Probe: async () => ({ ready: { value: true } }),
}
