/**
 * Which proxy a request goes through, decided as Go decides it (golang.org/x/net/http/httpproxy is what the values in
 * CDIConfig were written for): `no_proxy` knows `*`, names with their subdomains, `.suffixes`, addresses, CIDRs and
 * ports; localhost is never proxied.
 */
import { BlockList, isIP } from 'node:net'
import { CdiError } from '../../src/errors.ts'
import { userInfoOf } from './http/user-info.ts'

/** The values of `http_proxy`, `https_proxy` and `no_proxy`; empty means none. */
export interface ProxySettings {
  readonly httpProxy?: string
  readonly httpsProxy?: string
  readonly noProxy?: string
}

const defaultPorts: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' }

/** The port of a URL, the scheme's own one if it names none. */
export function portOf(url: URL): number {
  return Number(url.port || defaultPorts[url.protocol])
}

/** The host of a URL as the network wants it: IPv6 addresses without brackets. */
export function hostOf(url: URL): string {
  return url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname
}

/** The proxy for `url`, or undefined for a direct connection. Throws CDI_USAGE for a proxy that makes no sense. */
export function chooseProxy(settings: ProxySettings, url: URL): URL | undefined {
  const value = (url.protocol === 'https:' ? settings.httpsProxy : settings.httpProxy)?.trim()
  if (!value || bypassesProxy(settings.noProxy ?? '', url)) return undefined
  return parseProxy(value)
}

function parseProxy(value: string): URL {
  const withScheme = value.includes('://') ? value : `http://${value}`
  const proxy = URL.parse(withScheme)
  // The value may hold a password, so it is not quoted.
  if (proxy === null || proxy.hostname === '') throw new CdiError('CDI_USAGE', 'the address of the proxy is not a URL')
  if (proxy.protocol !== 'http:' && proxy.protocol !== 'https:') {
    throw new CdiError('CDI_USAGE', `proxies are reached by http or https, not by ${proxy.protocol.slice(0, -1)}`)
  }
  return proxy
}

/** True if `url` is to be reached without a proxy. */
export function bypassesProxy(noProxy: string, url: URL): boolean {
  const host = hostOf(url).toLowerCase().replace(/\.$/, '')
  if (host === 'localhost' || isLoopback(host)) return true
  const port = String(portOf(url))
  return noProxy
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && entryMatches(entry, host, port))
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

function isLoopback(host: string): boolean {
  return isIP(host) !== 0 && loopback.check(host, family(host))
}

function family(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

function entryMatches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true
  const cidr = parseCidr(entry)
  if (cidr !== undefined) return isIP(host) !== 0 && cidr.check(host, family(host))
  const { name, port: wanted } = splitPort(entry)
  if (name === '' || (wanted !== undefined && wanted !== port)) return false
  if (isIP(name) !== 0) return sameAddress(name, host)
  // `.example.com` and `*.example.com` mean the subdomains, `example.com` means itself as well.
  const suffix = name.startsWith('*.') ? name.slice(1) : name
  return suffix.startsWith('.') ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`)
}

function parseCidr(entry: string): BlockList | undefined {
  const [address = '', bits = '', ...more] = entry.split('/')
  if (more.length > 0 || isIP(address) === 0 || !/^\d{1,3}$/.test(bits)) return undefined
  if (Number(bits) > (isIP(address) === 6 ? 128 : 32)) return undefined
  const list = new BlockList()
  list.addSubnet(address, Number(bits), family(address))
  return list
}

function splitPort(entry: string): { name: string; port?: string } {
  const bracketed = /^\[(?<name>[^\]]*)\](?::(?<port>\d+))?$/.exec(entry)?.groups
  if (bracketed !== undefined) return named(bracketed['name'], bracketed['port'])
  // More than one colon and no brackets: an IPv6 address without a port.
  const parts = entry.split(':')
  return parts.length === 2 ? named(parts[0], parts[1]) : { name: entry }
}

function named(name = '', port?: string): { name: string; port?: string } {
  return port === undefined ? { name } : { name, port }
}

function sameAddress(one: string, other: string): boolean {
  if (isIP(other) === 0) return false
  const list = new BlockList()
  list.addAddress(one, family(one))
  return list.check(other, family(other))
}

/** The value of `Proxy-Authorization` for a proxy URL with user information (RFC 7617). Throws CDI_USAGE. */
export function proxyAuthorization(proxy: URL): string | undefined {
  const given = userInfoOf(proxy)
  return given && `Basic ${Buffer.from(`${given.user}:${given.password}`).toString('base64')}`
}
