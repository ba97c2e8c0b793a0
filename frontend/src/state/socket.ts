import { HocuspocusProviderWebsocket } from "@hocuspocus/provider";

/**
 * The project's socket. Unlike the stock one it keeps nothing to send later.
 *
 * What a provider says while there is no connection is said again, whole, by the handshake of the
 * next one. Sent late in between, an old detach would end a document that was attached anew, and
 * the acknowledgements of old updates would count for newer ones that are not stored yet.
 */
export class ProjectSocket extends HocuspocusProviderWebsocket {
  override send(message: unknown): void {
    if (this.webSocket?.readyState === WebSocket.OPEN) super.send(message);
  }
}
