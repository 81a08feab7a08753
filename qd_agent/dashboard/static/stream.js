// The line to the service: server-sent events, taken up again where they were cut off.

const KINDS = ["snapshot", "frames", "run", "runs", "health"];
const AGAIN_MS = 1500;

/**
 * Listen until `close` is called on what is given back.
 * @param address gives the address to open, with the last id that was seen ('' at first).
 * @param onMessage called with kind, data and id.
 * @param onLine called with true when the line is up, false when it is cut.
 */
export function listen(address, onMessage, onLine) {
  let source = null, lastId = "", timer = null, closed = false;

  function open() {
    source = new EventSource(address(lastId));
    source.onopen = () => onLine(true);
    source.onerror = () => {
      onLine(false);
      // A browser tries again by itself after a cut, not after an answer such as 502 of a proxy.
      if (source.readyState === EventSource.CLOSED && !closed) {
        source.close();
        timer = setTimeout(open, AGAIN_MS);
      }
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        lastId = event.lastEventId;
        onMessage(kind, JSON.parse(event.data), lastId);
      });
    }
  }

  open();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      source.close();
    },
  };
}
