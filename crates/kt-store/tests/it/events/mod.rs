mod keeping;
mod querying;
mod verifying;
mod writing;
