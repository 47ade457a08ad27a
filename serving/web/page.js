// What both pages share: the server's (classify.js) and the one that needs no server (app.js).

export const TOP = 5;
export const REENCODED_QUALITY = 0.92;

export const $ = (id) => document.getElementById(id);

// ---- Showing ---------------------------------------------------------------------------------

export function show(...ids) {
  for (const id of ids) $(id).hidden = false;
}

export function hide(...ids) {
  for (const id of ids) $(id).hidden = true;
}

export function element(tag, className, text = "") {
  const result = document.createElement(tag);
  result.className = className;
  result.textContent = text; // labels come from a model's files: never as HTML
  return result;
}

export function showClasses(classes) {
  for (const { name, share } of classes) {
    const row = document.createElement("li");
    const track = element("div", "track");
    const bar = element("div", "bar");
    bar.style.width = `${Math.min(100, Math.max(0, 100 * share))}%`;
    track.setAttribute("aria-hidden", "true");
    track.append(bar);
    const percent = element("span", "percent", `${(100 * share).toFixed(1)} %`);
    row.append(element("span", "name", name), percent, track);
    $("classes").append(row);
  }
}

export function clear() {
  hide("error");
  $("error").textContent = "";
  $("status").textContent = "";
  $("note").textContent = "";
  $("classes").replaceChildren();
}

export function complain(message) {
  $("error").textContent = message;
  show("error");
}

export function preview(blob) {
  const image = $("preview");
  URL.revokeObjectURL(image.src);
  hide("hint");
  image.onload = () => show("preview");
  image.onerror = () => hide("preview"); // of a format that this browser does not show
  image.src = URL.createObjectURL(blob);
}

// ---- Where pictures come from ----------------------------------------------------------------

let cameraStream = null;

export function closeCamera() {
  for (const track of cameraStream?.getTracks() ?? []) track.stop();
  cameraStream = null;
  $("video").srcObject = null;
  hide("video", "shoot", "close");
  show("choose", "camera");
}

// Has `classify` called with each picture, a Blob, that somebody chooses, drops, pastes or takes, and
// `watch`, where there is one, with the video that shows the camera.
export function connect(classify, watch = null) {
  for (const id of ["file", "capture"]) {
    $(id).addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = ""; // or the same file could not be chosen again
      if (file) classify(file);
    });
  }

  let dragDepth = 0;
  document.addEventListener("dragenter", () => $("drop").classList.toggle("over", ++dragDepth > 0));
  document.addEventListener("dragleave", () => $("drop").classList.toggle("over", --dragDepth > 0));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dragDepth = 0;
    $("drop").classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) classify(file);
    else complain("That was no file. Save the picture and drop the file, or choose it.");
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) classify(file);
  });

  $("camera").addEventListener("click", async () => {
    clear();
    // Browsers let only pages of this machine or over https see the camera; a phone's file chooser
    // takes a photograph for any page.
    if (!navigator.mediaDevices?.getUserMedia) return $("capture").click();
    try {
      cameraStream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment" },
      });
    } catch (error) {
      return complain(
        error.name === "NotAllowedError"
          ? "The camera may not be used. Allow it for this page in the browser's settings."
          : "No camera was found. Choose a picture instead.",
      );
    }
    $("video").srcObject = cameraStream;
    await $("video").play();
    hide("preview", "hint", "choose", "camera");
    show("video", "shoot", "close");
    $("shoot").focus();
    watch?.($("video"));
  });

  $("close").addEventListener("click", () => {
    closeCamera();
    $("camera").focus();
  });

  $("shoot").addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    canvas.width = $("video").videoWidth;
    canvas.height = $("video").videoHeight;
    canvas.getContext("2d").drawImage($("video"), 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", REENCODED_QUALITY));
    if (blob) classify(blob);
    else complain("The camera shows no picture yet. Try again.");
  });
}
