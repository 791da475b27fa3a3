// Photos and answers survive a reload, Back and another language: in memory, where browsers let a worker
// outlive its page. Nothing but the tab's random name is stored.

const NAME = "raut_tab";

/**
 * @param pack returns what to keep of a page that is left; null for nothing
 * @param unpack called with what the tab's last page kept
 * @returns a function to call once there is something to keep: whether it will outlive the page
 */
export function keepAcrossPages(pack, unpack) {
  let worker = null;
  let outlives = false;
  const keep = () => {
    if (worker || !("SharedWorker" in window)) return outlives;
    sessionStorage[NAME] ??= String(Math.random());
    worker = new SharedWorker(new URL("keeper.js", import.meta.url), {
      name: sessionStorage[NAME],
      // Only browsers that know this option ask for it.
      get extendedLifetime() {
        outlives = true;
        return true;
      },
    });
    worker.port.onmessage = ({ data }) => data && unpack(data);
    worker.port.postMessage("give");
    window.addEventListener("pagehide", () => worker.port.postMessage(pack()));
    return outlives;
  };
  if (sessionStorage[NAME]) keep();
  return keep;
}
