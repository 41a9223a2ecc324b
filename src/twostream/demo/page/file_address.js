/* Browsers load no modules from an address of a file: this script, which is none, says so. */

if (location.protocol === "file:") {
  const message = document.getElementById("message");
  message.textContent = "This page needs an address that begins with http. In its folder, run: python -m http.server";
  message.hidden = false;
}
