// A playhead over each picture, and a click on a picture plays from there. One sound at a time.
for (const track of document.querySelectorAll(".track")) {
  const audio = track.querySelector("audio");
  const strip = track.querySelector(".strip");
  if (!audio || !strip) continue;
  const head = document.createElement("i");
  head.className = "playhead";
  head.hidden = true;
  strip.append(head);
  const follow = () => {
    head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    head.hidden = !audio.currentTime;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", follow);
  audio.addEventListener("ended", () => { audio.currentTime = 0; });
  strip.addEventListener("click", (event) => {
    const box = strip.getBoundingClientRect();
    audio.currentTime = (audio.duration || 0) * ((event.clientX - box.left) / box.width);
    audio.play();
  });
}
