/** What nginx had to send: the measure of what an import costs the network. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Nginx, NginxRequest } from '../../../fixtures/nginx.ts'

/** The requests, once nginx has logged the last of them: it does so only after the connection was closed. */
export async function settledRequests(nginx: Nginx): Promise<NginxRequest[]> {
  let before = -1
  let requests = await nginx.requests()
  while (requests.length !== before) {
    before = requests.length
    await delay(100)
    requests = await nginx.requests()
  }
  return requests
}

/** Bytes of bodies that nginx has sent so far. */
export async function servedBytes(nginx: Nginx): Promise<number> {
  return (await settledRequests(nginx)).reduce((sum, { bodyBytes }) => sum + bodyBytes, 0)
}
