mod querying;
mod writing;
