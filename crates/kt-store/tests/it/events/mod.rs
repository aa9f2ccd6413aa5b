mod following;
mod keeping;
mod querying;
mod surviving;
mod verifying;
mod writing;
