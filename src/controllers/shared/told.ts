/** An event as plans wish it: it is sent after the write that it belongs to has succeeded. */
export interface Told {
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly message: string
}

export function normal(reason: string, message: string): Told {
  return { type: 'Normal', reason, message }
}

export function warning(reason: string, message: string): Told {
  return { type: 'Warning', reason, message }
}
