//! Arrays as they travel, and as `ndarray` has them.

use bytes::Bytes;
use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension};
use ndarray_npy::{ReadNpyExt, ReadableElement, ViewElement, ViewNpyError, ViewNpyExt, WritableElement, WriteNpyExt};

use crate::node::NodeError;

/// How Flower names NumPy's format.
const NUMPY: &str = "numpy.ndarray";
/// A header names a dtype and a shape; NumPy itself reads no more than 10,000 bytes of it.
const MAX_HEADER: usize = 64 << 10;
/// Where the second version of the format keeps its header's length, in four bytes.
const LONG_HEADER_LEN: std::ops::Range<usize> = 8..12;

/// A serialised array and what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) stype: String,
    pub(super) data: Bytes,
}

impl Array {
    /// An array that is serialised already, in whichever way `stype` names.
    pub fn new(dtype: impl Into<String>, shape: Vec<u64>, stype: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { dtype: dtype.into(), shape, stype: stype.into(), data: data.into() }
    }

    /// Serialises as NumPy does.
    pub fn from_ndarray<A, S, D>(array: &ArrayBase<S, D>) -> Self
    where
        A: Element,
        S: Data<Elem = A>,
        D: Dimension,
    {
        let mut data = Vec::with_capacity(array.len() * size_of::<A>() + 128);
        array.write_npy(&mut data).expect("writing to memory succeeds");
        let shape = array.shape().iter().map(|length| *length as u64).collect();
        Self::new(A::DTYPE, shape, NUMPY, data)
    }

    /// Reads an array that NumPy serialised, with elements of type `A`. The serialised data counts, not what is said
    /// about it.
    ///
    /// # Errors
    /// If it was serialised in another way, has elements of another type or is damaged.
    pub fn to_ndarray<A: Element>(&self) -> Result<ArrayD<A>, NodeError> {
        let failed = |reason: String| NodeError::content(format_args!("array of dtype {:?}", self.dtype), reason);
        if self.stype != NUMPY {
            return Err(failed(format!("it is serialised as {:?}; only {NUMPY:?} can be read", self.stype)));
        }
        if self.header_len() > MAX_HEADER {
            return Err(failed(format!("its header claims more than {MAX_HEADER} bytes")));
        }
        match ArrayViewD::<A>::view_npy(&self.data) {
            Ok(view) => Ok(view.to_owned()),
            // Only now that its length is known to be right may memory be taken for it.
            Err(ViewNpyError::MisalignedData) => {
                ArrayD::read_npy(&self.data[..]).map_err(|error| failed(error.to_string()))
            }
            Err(ViewNpyError::NonNativeEndian) => {
                Err(failed("its bytes are in the other order; send it in this machine's order".to_owned()))
            }
            Err(ViewNpyError::WrongDescriptor(found)) => {
                Err(failed(format!("its elements are {found} and not {}; {SUPPORTED}", A::DTYPE)))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// What it says its elements are, for instance `float32`.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// What it says its shape is.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// How it is serialised, for instance `numpy.ndarray`.
    pub fn stype(&self) -> &str {
        &self.stype
    }

    /// The serialised array.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The length that the header claims, if its version allows for long ones.
    fn header_len(&self) -> usize {
        let long = self.data.get(6).is_some_and(|version| *version > 1);
        let len = self.data.get(LONG_HEADER_LEN).filter(|_| long).and_then(|len| len.try_into().ok());
        len.map_or(0, |len| u32::from_le_bytes(len) as usize)
    }
}

const SUPPORTED: &str = "bool, integers of 8 to 64 bits, float32 and float64 can be read";

/// A type of elements that arrays can have.
pub trait Element: ViewElement + ReadableElement + WritableElement + Clone {
    /// NumPy's name of it.
    const DTYPE: &'static str;
}

macro_rules! elements {
    ($($element:ty => $dtype:literal),+) => {
        $(impl Element for $element {
            const DTYPE: &'static str = $dtype;
        })+
    };
}

elements!(
    bool => "bool", i8 => "int8", i16 => "int16", i32 => "int32", i64 => "int64", u8 => "uint8", u16 => "uint16",
    u32 => "uint32", u64 => "uint64", f32 => "float32", f64 => "float64"
);

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn, arr0, arr1, arr2};

    use super::*;

    fn numpy(data: impl Into<Bytes>) -> Array {
        Array::new("float32", vec![], NUMPY, data)
    }

    fn npy(header: &str, data: &[u8]) -> Bytes {
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(header.len() + 1).unwrap().to_le_bytes());
        npy.extend(header.as_bytes());
        npy.push(b'\n');
        npy.extend(data);
        npy.into()
    }

    #[test]
    fn an_array_survives_the_way_there_and_back() {
        let array = arr2(&[[1.5_f32, -2.0, 0.25], [f32::MAX, f32::MIN_POSITIVE, 0.0]]);
        let sent = Array::from_ndarray(&array);
        assert_eq!((sent.dtype(), sent.shape(), sent.stype()), ("float32", &[2, 3][..], NUMPY));
        assert_eq!(sent.to_ndarray::<f32>().unwrap(), array.into_dyn());
        let scalar = Array::from_ndarray(&arr0(7_i64));
        assert_eq!(scalar.to_ndarray::<i64>().unwrap(), ArrayD::from_elem(IxDyn(&[]), 7));
        let truths = arr1(&[true, false]);
        assert_eq!(Array::from_ndarray(&truths).to_ndarray::<bool>().unwrap(), truths.into_dyn());
    }

    #[test]
    fn columns_first_is_read_and_written() {
        let array = arr2(&[[1_u16, 2, 3], [4, 5, 6]]);
        assert_eq!(Array::from_ndarray(&array.t()).to_ndarray::<u16>().unwrap(), array.t().into_dyn());
    }

    #[test]
    fn data_at_any_address_is_read() {
        let array = arr1(&[1.0_f64, 2.0, 3.0]);
        let sent = Array::from_ndarray(&array);
        for offset in 0..16 {
            let mut moved = vec![0; offset];
            moved.extend_from_slice(sent.data());
            let moved = numpy(Bytes::from(moved).slice(offset..));
            assert_eq!(moved.to_ndarray::<f64>().unwrap(), array.clone().into_dyn());
        }
    }

    #[test]
    fn another_dtype_or_serialisation_says_what_is_possible() {
        let half = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", &[0, 0]);
        let error = numpy(half).to_ndarray::<f32>().unwrap_err();
        assert!(error.is_bad_content() && error.to_string().contains("<f2"), "{error}");
        let big = npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]);
        assert!(numpy(big).to_ndarray::<f32>().unwrap_err().to_string().contains("order"));
        let pickled = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0; 4]);
        assert!(numpy(pickled).to_ndarray::<f32>().unwrap_err().to_string().contains("|O"));
        let torch = Array::new("float32", vec![1], "torch.Tensor", vec![0_u8; 4]);
        assert!(torch.to_ndarray::<f32>().unwrap_err().to_string().contains("torch.Tensor"));
    }

    #[test]
    fn a_shape_that_is_too_large_for_the_data_takes_no_memory() {
        for shape in ["(4611686018427387904,)", "(9223372036854775807, 9223372036854775807)", "(1000000000000, 0, 9)"] {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            let read = numpy(npy(&header, &[0; 8])).to_ndarray::<f32>();
            assert!(read.unwrap_err().is_bad_content(), "{shape}");
        }
    }

    #[test]
    fn an_array_cut_anywhere_is_an_error() {
        let whole = Array::from_ndarray(&arr1(&[1.0_f32, 2.0])).data().clone();
        for end in 0..whole.len() {
            assert!(numpy(whole.slice(..end)).to_ndarray::<f32>().unwrap_err().is_bad_content(), "{end}");
        }
        let mut long = whole.to_vec();
        long.push(0);
        assert!(numpy(long).to_ndarray::<f32>().is_err());
        let claims = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..]].concat();
        assert!(numpy(claims).to_ndarray::<f32>().unwrap_err().to_string().contains("header"));
    }
}
