"""Exports small networks from PyTorch in every way that its users do: export_pytorch.py FOLDER.

For each network, exporter and operator set there is NAME.onnx in FOLDER, and for each network
NETWORK.images and NETWORK.logits, float32 values of a batch and of what PyTorch answers to it.
Prints one JSON object a file: file, network, exporter, opset, batch, classes, size. Exit code 77
where PyTorch or its exporters are missing.

The networks are written as people write them for CIFAR, in evaluation mode, with batch norm
statistics and scales that are not the identity.
"""

import json
import sys
import warnings

try:
    import onnx  # noqa: F401  both exporters need it
    import onnxscript  # noqa: F401  the dynamo exporter
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

BATCH = 5


class Plain(nn.Module):
    """Convolution, batch norm, ReLU in nn.Sequential; AdaptiveAvgPool2d, Flatten, Linear."""

    size = 16

    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 16, 3, padding=1, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Dropout2d(0.1),
            nn.Conv2d(16, 20, 1),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(20, 24),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(24, classes),
        )

    def forward(self, x):
        return self.body(x)


class Functional(nn.Module):
    """The functional style: F.relu, F.avg_pool2d, view by x.size(0), a norm on features."""

    size = 16

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.bn3 = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, classes)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.avg_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = x.view(x.size(0), -1)
        return self.fc2(F.relu(self.bn3(self.fc1(x))))


class BasicBlock(nn.Module):
    """torchvision's, with its in-place ReLU used twice and its downsample branch."""

    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """ResNet-18's four stages of two blocks, for small images; thin, so that a test is quick."""

    size = 32

    def __init__(self, classes, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        layers, inplanes = [], width
        for stage in range(4):
            planes = width * 2**stage
            for block in range(2):
                layers.append(BasicBlock(inplanes, planes, 2 if stage and not block else 1))
                inplanes = planes
        self.layers = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inplanes, classes)

    def forward(self, x):
        x = self.layers(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Mean(nn.Module):
    """x.mean over both dimensions for the global pooling; reshape; no batch norms at all."""

    size = 16

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.fc = nn.Linear(12, classes)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(x.mean(dim=[2, 3]).reshape(x.shape[0], -1))


NETWORKS = {"plain": (Plain, 3), "functional": (Functional, 4), "resnet": (ResNet, 10),
            "mean": (Mean, 3)}


def make(kind, classes):
    torch.manual_seed(11)
    network = kind(classes)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def export(network, image, path, exporter, opset, batch):
    names = {"input_names": ["input"], "output_names": ["output"], "opset_version": opset}
    if exporter == "torchscript":
        dynamic = {"input": {0: "batch"}, "output": {0: "batch"}} if batch == "dynamic" else None
        torch.onnx.export(network, (image,), path, dynamo=False, dynamic_axes=dynamic, **names)
    else:
        dynamic = ({0: torch.export.Dim("batch")},) if batch == "dynamic" else None
        torch.onnx.export(network, (image,), path, dynamo=True, dynamic_shapes=dynamic,
                          external_data=False, **names)


def main(folder):
    warnings.filterwarnings("ignore")
    for name, (kind, classes) in NETWORKS.items():
        network = make(kind, classes)
        torch.manual_seed(12)
        images = torch.randn(BATCH, 3, kind.size, kind.size)
        with torch.no_grad():
            logits = network(images)
        images.numpy().tofile(f"{folder}/{name}.images")
        logits.numpy().tofile(f"{folder}/{name}.logits")
        ways = [("torchscript", 13, "dynamic"), ("torchscript", 17, "fixed"),
                ("torchscript", 18, "dynamic"), ("dynamo", 18, "dynamic")]
        if name != "resnet":
            ways += [("torchscript", opset, "dynamic") for opset in (14, 15, 16, 17)]
            ways += [("torchscript", 13, "fixed"), ("dynamo", 18, "fixed")]
        for exporter, opset, batch in ways:
            file = f"{name}-{exporter}-{opset}-{batch}.onnx"
            # A dynamic batch must not be traced with one image: PyTorch takes 1 for a constant.
            example = images[:2] if batch == "dynamic" else images[:1]
            export(network, example, f"{folder}/{file}", exporter, opset, batch)
            print(json.dumps({"file": file, "network": name, "exporter": exporter, "opset": opset,
                              "batch": batch, "images": BATCH, "classes": classes,
                              "size": kind.size}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
