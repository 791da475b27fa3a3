// A shared worker that outlives its page by seconds, and hands what that held to the next page of the tab.

let kept = null;

addEventListener("connect", ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data !== "give") {
      kept = data;
      return;
    }
    port.postMessage(kept);
    kept = null;
  };
});
