/* Starts the gallery with the changed images; other pictures open it. */
{
  const options = document.createDocumentFragment();
  const order = images.class_names.map((_, index) => className(index)).sort();
  for (const name of order) options.append(make("option", { value: name }));
  document.getElementById("class-names").append(options);
}
for (const holder of document.querySelectorAll("[data-picture-of]")) {
  const image = Number(holder.dataset.pictureOf);
  const button = make("button", {
    type: "button", class: "open", "aria-label": `Enlarge ${describe(image)}`,
  }, picture(image));
  button.addEventListener("click", () => enlarge(image, [image]));
  holder.replaceChildren(button);
}
window.filterGallery = (query) => { wish(query); refresh(); };
document.getElementById("gallery-body").hidden = false;
refresh();
