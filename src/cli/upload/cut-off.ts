/** No answer came: the connection could not be made, broke, or fell silent. What the server took it knows itself. */
export class CutOff extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CutOff'
  }
}
