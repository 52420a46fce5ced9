"""Make the bucket BUCKET of an S3 store if it is absent; run once by compose.yaml."""

import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    bucket = os.environ["BUCKET"]
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        store.create_bucket(Bucket=bucket)
        print(f"made the bucket {bucket}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in _OURS:
            raise
        print(f"the bucket {bucket} is there")


_OURS = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")

if __name__ == "__main__":
    main()
