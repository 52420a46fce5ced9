"""Flask with torch, as PyTorch's tutorial "Deploying PyTorch in Python" has it."""

import os
from pathlib import Path

import torch
from flask import Flask, Response, jsonify, request
from PIL import Image
from torchvision import transforms

from classifier.bundle.files import read_bundle
from classifier.networks.image_classifier import ImageClassifier

app = Flask(__name__)
bundle = read_bundle(Path(os.environ["PEER_BUNDLE"]))
preprocessing, labels = bundle.preprocessing, bundle.labels.to_json()
model = ImageClassifier.from_bundle(bundle).network.eval()
transform = transforms.Compose(
    [
        transforms.Resize((preprocessing.height, preprocessing.width)),
        transforms.ToTensor(),
        transforms.Normalize(preprocessing.mean, preprocessing.std),
    ]
)


@app.route("/predict", methods=["POST"])
def predict() -> Response:
    image = Image.open(request.files["file"].stream).convert("RGB")
    with torch.no_grad():
        logits = model(transform(image).unsqueeze(0))
    top = logits.softmax(dim=1)[0].topk(5)
    return jsonify(
        top=[
            {**labels[index], "probability": probability}
            for probability, index in zip(*map(torch.Tensor.tolist, top), strict=True)
        ]
    )
