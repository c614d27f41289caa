import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, it } from 'node:test'
import { parseGoogleCredentials } from '../../../../importer/sources/gcs/credentials.ts'

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
const account = { type: 'service_account', client_email: 'me@x', private_key_id: 'one', private_key: pem }

function parse(fields: object) {
  return parseGoogleCredentials(JSON.stringify(fields))
}

describe('credentials of Google', () => {
  it('are the key of a service account, asked for at Google unless told', () => {
    const credentials = parse(account)
    assert.equal(credentials.type, 'service_account')
    assert.equal(credentials.tokenUrl.href, 'https://oauth2.googleapis.com/token')
    assert.equal(parse({ ...account, token_uri: 'https://x/token' }).tokenUrl.href, 'https://x/token')
    assert.equal(parse({ ...account, token_uri: 'http://127.0.0.1:1/token' }).tokenUrl.port, '1')
  })

  it('are those of a user who has logged in', () => {
    const user = { type: 'authorized_user', client_id: 'a', client_secret: 'b', refresh_token: 'c\n' }
    const credentials = parse(user)
    assert.ok(credentials.type === 'authorized_user')
    assert.equal(credentials.refreshToken, 'c')
  })

  it('are nothing else, and what is wrong is told without quoting them', () => {
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
    const bad: readonly (readonly [string, RegExp])[] = [
      ['SECRET', /it is no JSON$/],
      ['["SECRET"]', /it is no JSON object$/],
      ['{"SECRET":1}', /its type is missing, not/],
      ['{"type":"external_account"}', /its type is "external_account", not "service_account" or "authorized_user"/],
      [JSON.stringify({ ...account, client_email: ' ' }), /it has no client_email$/],
      [JSON.stringify({ ...account, private_key: 'SECRET' }), /its private_key is no PEM text of a key$/],
      [JSON.stringify({ ...account, private_key: ec }), /its private_key is not an RSA key$/],
      [JSON.stringify({ ...account, token_uri: 'http://overheard/SECRET' }), /its token_uri is not an https URL$/],
      [JSON.stringify({ type: 'authorized_user', client_id: 'SECRET' }), /it has no client_secret$/],
    ]
    for (const [json, message] of bad) {
      assert.throws(
        () => parseGoogleCredentials(json),
        (error: Error & { code?: string; cause?: unknown }) => {
          assert.equal(error.code, 'CDI_CREDENTIALS_INVALID')
          assert.match(error.message, message)
          assert.ok(!error.message.includes('SECRET') && error.cause === undefined)
          return true
        },
      )
    }
  })
})
