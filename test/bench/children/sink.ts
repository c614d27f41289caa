/** A server that reads every body and keeps nothing; it knows its clients by their certificates. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'

const { SINK_CERT = '', SINK_KEY = '', SINK_CA = '', SINK_PORT = '' } = process.env
const server = createServer(
  {
    cert: readFileSync(SINK_CERT),
    key: readFileSync(SINK_KEY),
    ca: readFileSync(SINK_CA),
    // What the profile of the cluster puts first, as in upload servers.
    ciphers: 'TLS_AES_128_GCM_SHA256',
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: true,
    requestTimeout: 0,
  },
  (request, response) => {
    request.resume()
    request.once('end', () => response.end())
  },
)
server.listen(Number(SINK_PORT), '127.0.0.1')
