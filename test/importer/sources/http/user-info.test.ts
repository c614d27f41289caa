import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inspect } from 'node:util'
import { openHttp } from '../../../../importer/sources/http.ts'
import { userInfoOf } from '../../../../importer/sources/http/user-info.ts'
import { proxyAuthorization } from '../../../../importer/sources/proxy.ts'
import { silentLog } from '../../../../src/log.ts'

describe('user and password in an address', () => {
  it('are what their escapes stand for', () => {
    assert.deepEqual(userInfoOf(new URL('https://a%40b:p%25w@host/')), { user: 'a@b', password: 'p%w' })
    assert.equal(userInfoOf(new URL('https://host/')), undefined)
  })

  it('that hold a percent sign which is no escape are told to hold one, and not shown', async () => {
    const fault = { code: 'CDI_USAGE', message: /write %25 for a percent sign$/ }
    const options = { headers: [], secretHeaders: [], insecureSkipVerify: false, proxy: {}, log: silentLog() }
    const opening = openHttp({ ...options, url: 'http://user:100%secret@127.0.0.1:1/' }, new AbortController().signal)
    await assert.rejects(opening, fault)
    await assert.rejects(opening, (error) => !inspect(error).includes('100%'))
    assert.throws(() => proxyAuthorization(new URL('http://user:100%secret@proxy:3128/')), fault)
  })
})
