"""Images, and models made without flipside, for docs/existing-models.md."""

import json
from pathlib import Path

import mlflow
import mynets
import onnx
import pandas
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

spanish = {
    **{"zero": "cero", "one": "uno", "two": "dos", "three": "tres", "four": "cuatro"},
    **{"five": "cinco", "six": "seis", "seven": "siete", "eight": "ocho"},
}
names = [*spanish, "nine"]

# scikit-learn's digits as files: 900 to train on, 897 to measure on.
digits = load_digits()
for i, digit in enumerate(digits.target):
    folder = Path("numbers", "train" if i < 900 else "val", names[digit])
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((digits.images[i] * 15.9).astype("uint8"))
    image.resize((32, 32)).save(folder / f"{i:04}.png")

normalize = transforms.Normalize([0.5] * 3, [0.5] * 3)
prepare = transforms.Compose([transforms.ToTensor(), normalize])
train = ImageFolder("numbers/train", prepare)
val = ImageFolder("numbers/val", prepare)


def trained(network: nn.Module, epochs: int) -> nn.Module:
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(epochs):
        for images, targets in DataLoader(train, 64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), targets).backward()
            optimizer.step()
    return network.eval()


torch.manual_seed(0)
resnet = trained(models.resnet18(num_classes=10), 3)
small = trained(timm.create_model("test_resnet", num_classes=10), 12)
own = trained(mynets.build(10), 8)

# PyTorch and timm: weights, and the names of the classes in the order of the outputs.
torch.save(resnet.state_dict(), "resnet.pth")
torch.save(own.state_dict(), "own.pth")
save_file(small.state_dict(), "small.safetensors")
Path("labels.txt").write_text("\n".join(train.classes))

# ONNX, with a sidecar that says what the images must be.
batch = {0: torch.export.Dim("batch")}
example = torch.zeros(2, 3, 32, 32)
torch.onnx.export(own, (example,), "own.onnx", dynamic_shapes=(batch,))
preprocessing = {
    **{"height": 32, "width": 32, "resize": "bilinear-antialias", "color": "rgb"},
    **{"mean": [0.5] * 3, "std": [0.5] * 3},
}
sidecar = {"labels": train.classes, "preprocessing": preprocessing}
Path("own.json").write_text(json.dumps(sidecar))
Path("small.json").write_text(json.dumps(sidecar))

# MLflow, once as ONNX and once as a pickle.
mlflow.onnx.log_model(
    onnx.load("own.onnx"), name="own", registered_model_name="lab-onnx"
)
mlflow.pytorch.log_model(
    own,
    name="own",
    registered_model_name="lab-torch",
    serialization_format="pickle",
)

# A table of answers.
with torch.inference_mode():
    logits = small(torch.stack([image for image, _ in val]))
frame = pandas.DataFrame(logits.softmax(1).numpy(), columns=train.classes)
frame.insert(0, "image", [Path(file).name for file, _ in val.samples])
frame.insert(1, "truth", [train.classes[target] for target in val.targets])
frame.to_csv("rival.csv", index=False)

# The same without the class nine, with other names for the rest, and their pairs.
frame = frame.drop(columns=["truth", "nine"]).rename(columns=spanish)
frame.to_csv("spanish.csv", index=False)
pairs = pandas.DataFrame(spanish.items(), columns=["a_id", "b_id"])
pairs.to_csv("map.csv", index=False)
